"""`kron`: DCFT (2503.01419), a transposed convolution of an outer product.

With stride and kernel k there is no overlap, so ΔW = (b aᵀ) ⊗ Cᵀ for a (n_in / k), b (n_out / k)
and C (k, k), and it is never made:

    s[p] = Σ_j a[j] x[j k + p]        y[j k + m] += b[j] Σ_p s[p] C[p, m]

C is zero at the start; the released code starts elsewhere, which would change the base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.adapters._block import Block
from dsa_edge.kernels.torch_adapter import lane_linear

__all__ = ["Kron"]


class Kron(Block):
    """Trains a, b and C."""

    unit: Tensor

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """unit (1,): size of the weight's outputs for inputs of size 1, which b starts at."""
        assert weight is not None  # only linears carry it
        return {"unit": weight.norm().view(1) / weight.shape[0] ** 0.5}

    def start(self, random: torch.Generator) -> list[Tensor]:
        """a and b normal, so that C = I would answer x as strongly as the weight does."""
        a, b, c = self.parts.values()
        first = torch.randn(a, generator=random) / a[0] ** 0.5
        return [first, torch.randn(b, generator=random) * self.unit, torch.zeros(c)]

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """The two small products."""
        a, b, c = trained
        k = c.shape[1]
        turned = x.view(-1, x.shape[1] // k, k).transpose(1, 2).flatten(0, 1)  # (M k, n_in / k)
        s = lane_linear(turned, a.unsqueeze(1)).view(-1, k)
        mixed = lane_linear(s, c.transpose(1, 2)).view(-1, 1)  # (M k, 1)
        spread = lane_linear(mixed, b.unsqueeze(2)).view(-1, k, y.shape[1] // k)
        return spread.transpose(1, 2).flatten(1)
