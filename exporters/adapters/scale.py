"""`scale` and `bias`: numbers an output, without a product.

    scale  y ← (1 + δ) ⊙ y    PEQA (2305.14152): the quantization scales s + Δs of a row, s (1 + δ)
    bias   y ← y + u δ        BitFit (2106.10199), u the usual size of the target's outputs
           y ← (1 + δ) ⊙ y    behind a norm, where it changes the norm's gain

All groups of a row share δ: another one for each group would need the kernel to read scales anew.
δ is relative, so one ε fits all layers. A floating minimum is scaled with its row, as it must be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.adapters._block import Block
from dsa_edge.kernels.torch_adapter import lane_linear

__all__ = ["Bias", "Scale"]


def per_lane(x: Tensor, values: Tensor) -> Tensor:
    """Each row's own lane of values (L, n), as (M, n) for rows x (M, …)."""
    return lane_linear(torch.ones_like(x[:, :1]), values.unsqueeze(2))


class Scale(Block):
    """Trains a relative change of each output's scale."""

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """δ ⊙ y."""
        return y * per_lane(y, trained[0])


class Bias(Block):
    """Trains a bias of each output, and behind a norm its gain."""

    unit: Tensor

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """unit (1,): size of the weight's outputs for inputs of size 1; none for norms."""
        if weight is None:
            return {}
        return {"unit": weight.norm().view(1) / weight.shape[0] ** 0.5}

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """u δ, or δ ⊙ y."""
        values = per_lane(y, trained[0])
        return y * values if self.point.endswith("norm") else self.unit * values
