"""What a fit was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsa_edge.manifest import Manifest
from dsa_edge.runtime._defaults import settled
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._privacy import Privacy
from dsa_edge.runtime._report import Progress

__all__ = ["Wish", "ignore"]


@dataclass(frozen=True)
class Wish:
    """The arguments of `Learner.fit`, each with its default."""

    budget: Budget
    on_step: Callable[[Progress], object]
    hyperparameters: Hyperparameters | None
    seed: int
    on_prefill: Callable[[int], object]
    remember: bool
    replay: int
    privacy: Privacy | None

    def settled(self, manifest: Manifest, choices: bool) -> Hyperparameters:
        """How the fit will step."""
        return settled(manifest, choices, self.hyperparameters, self.privacy is not None)


def ignore(_: object) -> None:
    """Nobody wants to know."""
