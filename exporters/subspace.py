"""The adapter's frozen factors and the blocks that use them.

Every target W gets the leading singular directions U (n_out, r) and V (r, n_in) of its own weight;
U carries the singular values, so one perturbation size fits all layers. A block trains only what
lies between them, and `dsa::gated_lowrank` adds it to the base's output:

    core      y += U C V x       C (r, r)
    diagonal  y += U diag(c) V x   c (r,)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dsa_edge.adapter import TARGETS, AdapterSpec
from dsa_edge.kernels.torch_adapter import gated_lowrank

__all__ = ["Block", "Lanes", "LayerBlocks", "Route", "make_blocks", "truncated_svd"]


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


@dataclass(frozen=True)
class Route:
    """Where an adapter acts, and through which blocks.

    index: (B, K) int64, the chosen blocks of each example; weight: (B, K) float32, of each.
    active: (B, T) bool, tokens on which the adapter acts.
    """

    index: Tensor
    weight: Tensor
    active: Tensor

    @classmethod
    def ungated(cls, active: Tensor) -> Route:
        """The only block for every example, as where there is no gate; active (B, T) bool."""
        first = torch.zeros_like(active[:, :1], dtype=torch.int64)
        return cls(first, torch.ones_like(first, dtype=torch.float32), active)


class Block(nn.Module):
    """Frozen factors of one target, kept in float16: u (N, r, n_out) and v (N, n_in, r)."""

    u: Tensor
    v: Tensor

    def __init__(self, kind: str, u: Tensor, v: Tensor) -> None:
        """From U (n_out, r) and V (r, n_in) of the only block."""
        super().__init__()
        self.register_buffer("u", u.T[None].half().contiguous())
        self.register_buffer("v", v.T[None].half().contiguous())
        rank = v.shape[0]
        self.core_shape = (1, rank, rank) if kind == "core" else (1, rank)

    @property
    def size(self) -> int:
        """Trained numbers: r · r entries of C row by row, or r of its diagonal."""
        return math.prod(self.core_shape)

    def add(self, x: Tensor, y: Tensor, parameters: Tensor, route: Route) -> Tensor:
        """Base output y (L, B, T, n_out) of x (L, B, T, n_in), plus what parameters (L, size) add.

        Leading axes of x and y may be flattened into one.
        """
        core = parameters.reshape(-1, *self.core_shape)
        return gated_lowrank(x, y, core, route.index, route.weight, self.u, self.v, route.active)


class LayerBlocks(nn.Module):
    """The blocks of one layer, in canonical order of their targets."""

    def __init__(self, blocks: dict[str, Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {target: blocks[target] for target in TARGETS if target in blocks}
        )

    def lanes(self, slots: Tensor, route: Route) -> Lanes:
        """Bind this layer's slots (L, n_layer)."""
        sizes = [block.size for block in self.blocks.values()]
        return Lanes(self.blocks, dict(zip(self.blocks, slots.split(sizes, 1), strict=True)), route)


@dataclass(frozen=True)
class Lanes:
    """One layer's adapter in L perturbed copies, ready to be added to the base's outputs."""

    blocks: nn.ModuleDict
    parameters: dict[str, Tensor]  # target → (L, size)
    route: Route

    @property
    def count(self) -> int:
        """Number of lanes L."""
        return next(iter(self.parameters.values())).shape[0]

    def add(self, target: str, x: Tensor, y: Tensor) -> Tensor:
        """Base output y of input x, plus the target's delta; shapes as in `Block.add`."""
        if target not in self.parameters:
            return y
        return cast(Block, self.blocks[target]).add(x, y, self.parameters[target], self.route)


def make_blocks(spec: AdapterSpec, factors: dict[str, tuple[Tensor, Tensor]]) -> LayerBlocks:
    """The blocks of one layer from the factors U (n_out, r) and V (r, n_in) of its targets."""
    return LayerBlocks({target: Block(spec.kind, *factors[target]) for target in spec.targets})
