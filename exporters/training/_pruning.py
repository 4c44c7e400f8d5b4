"""What to prune, and on what: the choices of a caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsa_edge.errors import UsageError
from dsa_edge.examples import Example, Labels
from dsa_edge.exporters.training._units import Importance

__all__ = ["CRITERIA", "Pruning"]

CRITERIA = ("learned", "magnitude", "random")


@dataclass(frozen=True)
class Pruning:
    """Prune a base before its export: `Pruning(0.25, "reviews.jsonl", labels=Labels(…))`.

    share: of the layers' weights to drop, 0 ≤ share < 1; at 0 only modules and ranks are dropped.
    examples: to learn masks on, or a JSONL file of them; labels: for lines with text and label.
    steps: of `batch` examples each. penalty: λ of Σ|m|, in nats a mask.
    modules: share of the adapter's targets to drop. ranks: share of its singular directions.
    by: `learned` masks; `magnitude` and `random`, to compare with, need no examples.
    kv_groups: how many to drop in each layer; None leaves that to the masks.
    known: importance that was learned before, to prune by several shares; nothing is learned then.
    """

    share: float
    examples: Sequence[Example] | str | Path = ()
    labels: Labels | None = None
    steps: int = 60
    batch: int = 16
    penalty: float = 1e-4
    modules: float = 0.0
    ranks: float = 0.0
    by: str = "learned"
    kv_groups: int | None = None
    known: Importance | None = field(default=None, repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("share", "modules", "ranks"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(
                    f"{name} to prune is {value}, expected 0 ≤ {name} < 1, as in 0.25."
                )
        if not self.share and not self.modules and not self.ranks:
            raise UsageError("nothing to prune: give a share above 0, as in 0.25, or leave it out.")
        if self.by not in CRITERIA:
            raise UsageError(f"units are ranked by {self.by!r}, expected {', '.join(CRITERIA)}.")
        if self.by != "learned" and (self.modules or self.ranks):
            raise UsageError(
                f"modules and ranks are dropped by learned importance, got by {self.by!r}: use "
                "'learned', or leave modules and ranks out."
            )
        if self.steps < 2 or self.batch < 1 or self.penalty < 0:
            raise UsageError(
                f"steps are {self.steps}, batch {self.batch} and penalty {self.penalty}, expected "
                "at least 2, 1 and 0."
            )
