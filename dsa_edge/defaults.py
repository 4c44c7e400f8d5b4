"""What a bundle proposes to fits on it: settings that were searched for, and a learning curve.

`dsa-edge tune` writes them into the manifest, one set for examples with choices and one for free
responses. They belong to no identity: adapters and stores stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Defaults", "read_defaults", "sort_of"]

SORTS = ("choices", "responses")
MOST = {"queries": 4096, "batch": 65_536, "steps": 1_000_000, "rate": 1e6, "epsilon": 1e6}
MAX_POINTS = 1000  # of a curve


@dataclass(frozen=True)
class Defaults:
    """Settings for one sort of examples; None leaves what suits them anyway.

    steps: of a fit without a number of its own. curve: (examples, held-out loss in nats) pairs.
    """

    rate: float | None = None
    epsilon: float | None = None
    queries: int | None = None
    batch: int | None = None
    steps: int | None = None
    curve: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no fit could take; raises ValueError."""
        for name, most in MOST.items():
            value, kind = getattr(self, name), float if name in ("rate", "epsilon") else int
            if value is not None and (type(value) is not kind or not 0 < value <= most):
                raise ValueError(f"{name} is {value!r}")
        if len(self.curve) > MAX_POINTS or not all(map(_is_point, self.curve)):
            raise ValueError("the learning curve holds no (examples, loss) pairs")

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Defaults:
        """From a manifest. Raises ValueError or TypeError."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in entry.items() if name in known}
        return cls(**{**values, "curve": tuple(map(tuple, entry.get("curve", ())))})

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters that are given."""
        named = {name: getattr(self, name) for name in ("rate", "epsilon", "queries", "batch")}
        return {name: value for name, value in named.items() if value is not None}


def read_defaults(entry: Mapping[str, Any]) -> dict[str, Defaults]:
    """Those of a manifest, by the sort of examples. Raises ValueError or TypeError."""
    if unknown := set(entry) - set(SORTS):
        raise ValueError(f"defaults are of {', '.join(map(str, unknown))}")
    return {name: Defaults.read(values) for name, values in entry.items()}


def sort_of(choices: bool) -> str:
    """The name of a sort of examples."""
    return SORTS[0] if choices else SORTS[1]


def _is_point(point: tuple[Any, ...]) -> bool:
    if len(point) != 2 or type(point[0]) is not int or type(point[1]) is not float:
        return False
    return point[0] > 0 and math.isfinite(point[1])
