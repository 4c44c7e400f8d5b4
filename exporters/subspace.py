"""The adapter's frozen factors and the blocks that use them.

Every target W gets the leading singular directions U (n_out, r) and V (r, n_in) of its own weight;
U carries the singular values, so one perturbation size fits all layers. A block trains only what
lies between them:

    core      y += U C V x       C (r, r)
    diagonal  y += U diag(c) V x   c (r,)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsa_edge.adapter import TARGETS, AdapterSpec

__all__ = [
    "Block",
    "CoreBlock",
    "DiagonalBlock",
    "Lanes",
    "LayerBlocks",
    "make_blocks",
    "truncated_svd",
]


def truncated_svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Leading singular directions of weight (n_out, n_in): U·S (n_out, rank) and V (rank, n_in).

    Eigenvectors of the smaller Gram matrix in float64, an exact truncated SVD at a tenth of the
    time of a full one. Each direction's sign is fixed: its largest entry in V is positive.
    """
    with _one_thread():
        return _leading(weight.double(), rank)


def _leading(w: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    tall = w.shape[0] > w.shape[1]
    gram = w.T @ w if tall else w @ w.T
    vectors = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
    if tall:
        v = vectors.T
        us = w @ vectors
    else:
        projected = vectors.T @ w  # = S V
        v = projected / projected.norm(dim=1, keepdim=True).clamp(min=1e-30)
        us = vectors * projected.norm(dim=1)
    sign = v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
    return (us * sign.T).float().contiguous(), (v * sign).float().contiguous()


@contextmanager
def _one_thread() -> Iterator[None]:
    """LAPACK's threads wait for each other by spinning: 30 x slower when another program runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Block(nn.Module):
    """Frozen factors of one target: u (n_out, r), v (r, n_in), kept in float16."""

    u: Tensor
    v: Tensor

    def __init__(self, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.register_buffer("u", u.half())
        self.register_buffer("v", v.half())
        self.rank = v.shape[0]

    @property
    def size(self) -> int:
        """Numbers that this block trains."""
        return self.rank

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Delta (L, B, T, n_out) for x (L, B, T, n_in) and parameters (L, size)."""
        lanes, batch, length, n_in = x.shape
        down = x.reshape(lanes, batch * length, n_in) @ self.v.float().T  # (L, B · T, r)
        up = self.mix(down, parameters) @ self.u.float().T
        return up.view(lanes, batch, length, -1)

    def mix(self, down: Tensor, parameters: Tensor) -> Tensor:
        """Apply the trained part to down (L, rows, r)."""
        raise NotImplementedError  # abstract: CoreBlock and DiagonalBlock


class CoreBlock(Block):
    """A full r × r core between the factors."""

    @property
    def size(self) -> int:
        """r · r entries of C, row by row."""
        return self.rank * self.rank

    def mix(self, down: Tensor, parameters: Tensor) -> Tensor:
        """C applied to every row: (L, rows, r)."""
        return down @ parameters.view(-1, self.rank, self.rank).transpose(1, 2)


class DiagonalBlock(Block):
    """One number for each singular direction."""

    def mix(self, down: Tensor, parameters: Tensor) -> Tensor:
        """Scale each direction: (L, rows, r)."""
        return down * parameters.unsqueeze(1)


_KINDS: dict[str, type[Block]] = {"core": CoreBlock, "diagonal": DiagonalBlock}


class LayerBlocks(nn.Module):
    """The blocks of one layer, in canonical order of their targets."""

    def __init__(self, blocks: dict[str, Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {target: blocks[target] for target in TARGETS if target in blocks}
        )

    def lanes(self, slots: Tensor, active: Tensor | None = None) -> Lanes:
        """Bind this layer's slots (L, n_layer); active (B, T) is 1 where the adapter acts."""
        sizes = [block.size for block in self.blocks.values()]
        return Lanes(
            self.blocks, dict(zip(self.blocks, slots.split(sizes, 1), strict=True)), active
        )


@dataclass(frozen=True)
class Lanes:
    """One layer's adapter in L perturbed copies, ready to be added to the base's outputs."""

    blocks: nn.ModuleDict
    parameters: dict[str, Tensor]  # target → (L, size)
    active: Tensor | None

    @property
    def count(self) -> int:
        """Number of lanes L."""
        return next(iter(self.parameters.values())).shape[0]

    def add(self, target: str, x: Tensor, y: Tensor) -> Tensor:
        """Base output y (L, B, T, n_out) of input x (L, B, T, n_in), plus the target's delta."""
        if target not in self.parameters:
            return y
        delta = self.blocks[target](x, self.parameters[target])
        return y + (delta if self.active is None else delta * self.active[None, :, :, None])


def make_blocks(spec: AdapterSpec, factors: dict[str, tuple[Tensor, Tensor]]) -> LayerBlocks:
    """The blocks of one layer from the factors U (n_out, r) and V (r, n_in) of its targets."""
    kind = _KINDS[spec.kind]
    return LayerBlocks({target: kind(*factors[target]) for target in spec.targets})
