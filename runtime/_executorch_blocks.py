"""The adapter as inputs of the layer programs: cores from the flat vector, factors from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.kinds import TARGETS
from dsa_edge.runtime._engine import Floats

__all__ = ["Blocks"]

Arrays = list[NDArray[Any]]


class Blocks:
    """The blocks of one bundle; every target has one, or none."""

    def __init__(self, bundle: Bundle) -> None:
        from safetensors.numpy import load_file

        assert bundle.manifest.executorch is not None  # the engine has checked
        self._spec = bundle.manifest.adapter
        rank = self._spec.rank
        self._core = (1, rank, rank) if self._spec.kind == "core" else (1, rank)
        self._factors = load_file(bundle.path / bundle.manifest.executorch.factors)

    def route(self, batch: int) -> Arrays:
        """Index and weight (B, K) of the blocks of each example: the only one."""
        first = np.zeros((batch, 1), dtype=np.int64)
        return [first, np.ones((batch, 1), dtype=np.float32)]

    def of_layer(self, layer: int, slots: Floats | None, lanes: int) -> Arrays:
        """Core, u and v of every target.

        slots: (L, n_layer) of the adapter; None for no adapter, in any number of lanes.
        """
        used = [t for t in TARGETS if t in self._spec.targets] if slots is not None else []
        parts = [] if slots is None else np.split(slots, len(used), 1)
        cores = dict(zip(used, parts, strict=True))
        given: Arrays = []
        for target in TARGETS:
            if target in cores:
                where, core = f"layers.{layer}", cores[target].reshape(-1, *self._core)
            else:
                where, core = "none", np.zeros((lanes, 0, *self._core[1:]), dtype=np.float32)
            given += [core, *(self._factors[f"{where}.{target}.{part}"] for part in "uv")]
        return given
