"""What all kinds share: the block of one target, those of a layer, and a layer's lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from dsa_edge.kinds import POINTS

__all__ = ["Block", "Lanes", "LayerBlocks", "Parts", "Route"]

Parts = dict[str, tuple[int, ...]]


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
    """One adapter at one point of a layer: what it trains, what is frozen, and what it adds.

    A kind is a subclass. It says what is frozen, and how y changes with what is trained.
    """

    gated: ClassVar[bool] = False  # whether `dsa::gated_lowrank` computes it, routes included

    def __init__(self, point: str, parts: Parts, frozen: dict[str, Tensor]) -> None:
        """parts: shapes of what is trained, as `kinds.py` has them; frozen: buffers by name."""
        super().__init__()
        self.point, self.parts = point, parts
        for name, value in frozen.items():
            self.register_buffer(name, value)

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """The frozen buffers for a linear of weight (n_out, n_in), or for a point without one."""
        return {}

    def start(self, random: torch.Generator) -> list[Tensor]:
        """Values at which training starts, a tensor a part; they leave the base as it is."""
        return [torch.zeros(shape) for shape in self.parts.values()]

    @property
    def size(self) -> int:
        """Trained numbers."""
        return sum(math.prod(shape) for shape in self.parts.values())

    def add(self, x: Tensor, y: Tensor, parameters: Tensor, route: Route) -> Tensor:
        """Value y (L, B, T, n_out) made from x (L, B, T, n_in), as parameters (L, size) change it.

        The same tensor where the adapter acts on no token, and the same bits for lanes of zeros.
        """
        change: Tensor = self(x.flatten(0, -2), y.flatten(0, -2), *self.split(parameters))
        return y + change.view(y.shape) * route.active[None, :, :, None]

    def split(self, parameters: Tensor) -> Sequence[Tensor]:
        """Parameters (L, size) → the trained tensors, (L, …) each."""
        sizes = [math.prod(shape) for shape in self.parts.values()]
        cut = parameters.split(sizes, 1)
        return [p.view(-1, *s) for p, s in zip(cut, self.parts.values(), strict=True)]

    def forward(self, x: Tensor, y: Tensor, *trained: Tensor) -> Tensor:
        """What is added to y (M, n_out) of x (M, n_in), rows of L lanes one after the other."""
        raise NotImplementedError


class LayerBlocks(nn.Module):
    """The blocks of one layer, in canonical order of their points."""

    def __init__(self, blocks: dict[str, Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({point: blocks[point] for point in POINTS if point in blocks})

    def start(self, random: torch.Generator) -> list[Tensor]:
        """Values at which training starts, a tensor a slot."""
        return [part for b in self.blocks.values() for part in cast(Block, b).start(random)]

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names `point.buffer` of what is frozen, in the order in which programs take it."""
        return tuple(
            f"{point}.{name}"
            for point, block in self.blocks.items()
            for name in sorted(dict(block.named_buffers()))
        )

    @property
    def form(self) -> list[object]:
        """What decides the program of an adapter, besides shapes."""
        blocks = self.blocks.items()
        return [[point, type(b).__name__, cast(Block, b).parts] for point, b in blocks]

    def bind(self, slots: Tensor) -> dict[str, tuple[Block, Tensor]]:
        """Each point's block with its own numbers (L, size) of this layer's slots (L, n_layer)."""
        blocks = {point: cast(Block, block) for point, block in self.blocks.items()}
        own = slots.split([block.size for block in blocks.values()], 1)
        return {point: (blocks[point], values) for point, values in zip(blocks, own, strict=True)}

    def lanes(self, slots: Tensor, route: Route) -> Lanes:
        """Bind this layer's slots (L, n_layer)."""
        return Lanes(self.bind(slots), route)


@dataclass(frozen=True)
class Lanes:
    """One layer's adapter in L perturbed copies, ready to change the base's values."""

    bound: dict[str, tuple[Block, Tensor]]  # point → its block, and parameters (L, size)
    route: Route

    @property
    def count(self) -> int:
        """Number of lanes L."""
        return next(iter(self.bound.values()))[1].shape[0]

    def add(self, point: str, x: Tensor, y: Tensor) -> Tensor:
        """Value y at a point, made from x, with what the adapter adds; shapes as `Block.add`."""
        if point not in self.bound:
            return y
        block, parameters = self.bound[point]
        return block.add(x, y, parameters, self.route)
