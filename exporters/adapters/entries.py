"""`columns` and `sparse`: a few of a weight's own entries, trained where they are.

    columns  y += u Δ x[weak]          QEFT (2410.08661): whole input columns
    sparse   y += u (M ⊙ Δ) x          SHiRA (2406.13175): single entries under a fixed mask M

u is the weight's usual entry, so Δ is relative and one ε fits all targets. Which entries: those
that matter most to the outputs, told from the weight alone, for an export without calibration
texts sees no data. Where it saw some and kept weak columns in 16 bits, `columns` trains those: they
are the last ones, the weakest at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.adapters._block import Block
from dsa_edge.exporters.adapters.scale import per_lane
from dsa_edge.kernels.torch_adapter import lane_linear

__all__ = ["Columns", "Sparse", "last_columns"]


class Columns(Block):
    """Trains `rank` columns of the weight."""

    index: Tensor
    unit: Tensor

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """index (k,): the columns of largest norm, in order; unit (1,): the weight's RMS."""
        assert weight is not None  # only linears carry it
        strongest = weight.norm(dim=0).argsort(descending=True, stable=True)[:rank]
        return {"index": strongest.sort().values.int(), "unit": _usual(weight)}

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """Δ times the chosen inputs."""
        return lane_linear(x.index_select(1, self.index) * self.unit, trained[0])


class Sparse(Block):
    """Trains rank × rank entries of the weight.

    At most `levels` entries of an output are chosen: a device then gathers, and never scatters.
    """

    index: Tensor
    places: Tensor
    unit: Tensor

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """index (m,): input of each entry; places (levels, n_out): its entries, or m for none."""
        assert weight is not None  # only linears carry it
        n_out, count = weight.shape[0], rank * rank
        levels = min(weight.shape[1], -(-2 * count // n_out))
        values, inputs = weight.abs().topk(levels, dim=1)
        chosen = values.flatten().argsort(descending=True, stable=True)[:count].sort().values
        places = torch.full((n_out * levels,), count, dtype=torch.int32)
        places[chosen] = torch.arange(count, dtype=torch.int32)
        return {
            "index": inputs.flatten()[chosen].int(),
            "places": places.view(n_out, levels).T.contiguous(),
            "unit": _usual(weight),
        }

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """Each entry times its input, to its output."""
        values = trained[0]
        products = x.index_select(1, self.index) * self.unit * per_lane(x, values)
        ended = torch.cat([products, torch.zeros_like(products[:, :1])], 1)  # "none" adds 0
        return sum_of([ended.index_select(1, row) for row in self.places.unbind()])


def last_columns(weight: Tensor, rank: int) -> Tensor:
    """index (rank,) int32 of the last columns of a weight (n_out, n_in): its weak ones."""
    n_in = weight.shape[1]
    return torch.arange(n_in - rank, n_in, dtype=torch.int32)


def sum_of(values: list[Tensor]) -> Tensor:
    """Sum of one or more tensors."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _usual(weight: Tensor) -> Tensor:
    return weight.pow(2).mean().sqrt().view(1)
