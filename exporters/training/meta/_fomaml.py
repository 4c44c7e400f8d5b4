"""First-order MAML (1703.03400): g = mean_u ∇L_query(θ_u), θ_u after the inner steps of user u.

φ ← φ − β · Adam(g), as the paper's own code has it: the gradients of different bases differ by
orders of magnitude, and one β then suits them. The second derivatives of MAML are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dsa_edge.exporters.training.meta._inner import BETAS, Adapted, Lots, gradient
from dsa_edge.exporters.training.meta._prompts import Prompts

__all__ = ["Fomaml"]


class Fomaml:
    """Remembers Adam's moments, and how many steps there were."""

    def __init__(self, size: int) -> None:
        self.state = {
            "first": torch.zeros(size),
            "second": torch.zeros(size),
            "count": torch.zeros(1),
        }

    def direction(self, prompts: Prompts, lots: Lots, phi: Tensor, found: Adapted) -> Tensor:
        """One user's gradient (n,)."""
        return gradient(prompts, found.theta, lots.query, [])

    def moved(self, phi: Tensor, directions: Sequence[Tensor], beta: float) -> Tensor:
        """φ (n,) after a round."""
        mean = torch.stack(list(directions)).mean(0).cpu()
        self.state["count"] += 1
        for name, power, of in (("first", BETAS[0], mean), ("second", BETAS[1], mean * mean)):
            self.state[name] = power * self.state[name] + (1 - power) * of
        count = float(self.state["count"])
        first = self.state["first"] / (1 - BETAS[0] ** count)
        spread = (self.state["second"] / (1 - BETAS[1] ** count)).sqrt() + 1e-8
        return phi - beta * (first / spread).to(phi.device)
