"""`bottleneck` and `parallel`: a small network behind a sublayer, or beside it.

    bottleneck  y += Up relu(Down y)   Houlsby et al. 2019 (1902.00751), one behind each sublayer
    parallel    y += Up relu(Down x)   He et al. 2022 (2110.04366), x what the sublayer reads

Down (m, D) is random at the start, Up (D, m) zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.adapters._block import Block
from dsa_edge.kernels.torch_adapter import lane_linear

__all__ = ["Bottleneck", "Parallel"]


class Bottleneck(Block):
    """Reads what the sublayer gives."""

    def start(self, random: torch.Generator) -> list[Tensor]:
        """Down normal with deviation 1 / √D."""
        down, up = self.parts.values()
        return [torch.randn(down, generator=random) / down[1] ** 0.5, torch.zeros(up)]

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """Up relu(Down y)."""
        down, up = trained
        return lane_linear(torch.relu(lane_linear(y, down)), up)


class Parallel(Bottleneck):
    """Reads what the sublayer reads."""

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """Up relu(Down x)."""
        return super().forward(x, x, *trained)
