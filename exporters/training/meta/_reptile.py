"""Reptile (1803.02999): φ ← φ + β · mean_u(θ_u − φ), θ_u after the inner steps of user u."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dsa_edge.exporters.training.meta._inner import Adapted, Lots
from dsa_edge.exporters.training.meta._prompts import Prompts

__all__ = ["Reptile"]


class Reptile:
    """Follows the users; remembers nothing."""

    def __init__(self, size: int) -> None:
        self.state: dict[str, Tensor] = {}

    def direction(self, prompts: Prompts, lots: Lots, phi: Tensor, found: Adapted) -> Tensor:
        """What one user adds (n,)."""
        return found.theta - phi

    def moved(self, phi: Tensor, directions: Sequence[Tensor], beta: float) -> Tensor:
        """φ (n,) after a round."""
        return phi + beta * torch.stack(list(directions)).mean(0)
