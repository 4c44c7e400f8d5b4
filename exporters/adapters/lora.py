"""`lora` and `lora-frozen`: low-rank products of their own directions.

    lora         y += B A x   A (r, n_in) random, B (n_out, r) zero at the start
    lora-frozen  y += B V x   V frozen: the weight's own singular directions

LoRA is 2106.09685, LoRA-FA (A frozen) 2308.03303. The usual factor α / r is 1: B carries it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.adapters._block import Block
from dsa_edge.exporters.subspace import truncated_svd
from dsa_edge.kernels.torch_adapter import lane_linear

__all__ = ["FrozenLora", "Lora"]


class Lora(Block):
    """Trains both factors."""

    def start(self, random: torch.Generator) -> list[Tensor]:
        """A uniform in ± 1 / √n_in, as the reference implementation has it."""
        a, b = self.parts.values()
        return [(2 * torch.rand(a, generator=random) - 1) / a[1] ** 0.5, torch.zeros(b)]

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """B A x."""
        a, b = trained
        return lane_linear(lane_linear(x, a), b)


class FrozenLora(Block):
    """Trains B alone."""

    v: Tensor

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """v (r, n_in): the inputs that the weight answers to most, orthonormal."""
        assert weight is not None  # only linears carry it
        return {"v": truncated_svd(weight, rank)[1].half()}

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """B V x."""
        return lane_linear(x @ self.v.float().T, trained[0])
