"""The layout of an adapter: what carries it, and the slots of its flat vector.

Every trained part is a *slot*, a named range of the vector, in canonical order: layer by layer from
the split layer up, within a layer as it computes, q k v o gate up down, and there block by block.
`kinds.py` has what each kind trains.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dsa_edge.errors import UsageError
from dsa_edge.kinds import KINDS, POINTS, Geometry

__all__ = ["GATES", "AdapterSpec", "Slot", "make_slots"]

MAX_BLOCKS = 256  # of a target
GATES = ("blocks", "active")  # fields that only gated adapters tell


@dataclass(frozen=True)
class AdapterSpec:
    """What carries the adapter and where it acts.

    kind: one of `KINDS`. rank: its size at a point, as each kind counts it: singular directions,
        columns, width; 0 takes the kind's own. targets: points that carry a block, in any order;
        none takes the kind's own.
    split: first adapted layer as a share of the depth, 0 ≤ split < 1 (0.5: the upper half).
    invocation: last prompt tokens on which the adapter already acts, ≥ 1.
    blocks: of a target, N; a gate chooses `active` of them for each prompt (`gate.py`). They share
        the target's frozen factors, and each trains its own core.
    """

    kind: str = "core"
    rank: int = 0
    targets: tuple[str, ...] = ()
    split: float = 0.5
    invocation: int = 1
    blocks: int = 1
    active: int = 1

    def __post_init__(self) -> None:
        """Fill in what the kind decides, and refuse what no graph can express."""
        if self.kind not in KINDS:
            raise UsageError(
                f"adapter kind {self.kind!r} is unknown: use one of {', '.join(KINDS)}."
            )
        kind = KINDS[self.kind]
        object.__setattr__(self, "rank", self.rank or kind.rank)
        object.__setattr__(self, "targets", self.targets or kind.default)
        unknown = [t for t in self.targets if t not in kind.points]
        if unknown or len(set(self.targets)) != len(self.targets):
            raise UsageError(
                f"adapter targets {list(self.targets)} must be distinct, and for {self.kind} be "
                f"out of {', '.join(kind.points)}: correct --targets."
            )
        if not 0 <= self.split < 1:
            raise UsageError(
                f"split is {self.split}, expected 0 ≤ split < 1 (a share of the depth)."
            )
        if self.rank < 1 or self.invocation < 1:
            raise UsageError(
                f"rank is {self.rank} and invocation {self.invocation}, expected at least 1 each."
            )
        self._check_blocks()

    def _check_blocks(self) -> None:
        whole = type(self.blocks) is int and type(self.active) is int
        if not whole or not 1 <= self.active <= self.blocks <= MAX_BLOCKS:
            raise UsageError(
                f"{self.active} of {self.blocks} blocks are active, expected 1 ≤ active ≤ blocks ≤ "
                f"{MAX_BLOCKS}: correct --active or --blocks."
            )
        if self.blocks > 1 and not KINDS[self.kind].gated:
            gated = ", ".join(name for name, kind in KINDS.items() if kind.gated)
            raise UsageError(
                f"blocks is {self.blocks} for {self.kind}, expected 1, for only {gated} can be "
                "gated: change --adapter or leave --blocks out."
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields, for files and hashes; without those of gates where there is none."""
        fields = asdict(self)
        return fields if self.blocks > 1 else {k: v for k, v in fields.items() if k not in GATES}

    def split_layer(self, n_layers: int) -> int:
        """Index of the first adapted layer."""
        return min(math.floor(self.split * n_layers), n_layers - 1)

    @property
    def points(self) -> tuple[str, ...]:
        """The targets in canonical order."""
        return tuple(point for point in POINTS if point in self.targets)

    def parts(self, geometry: Geometry, point: str) -> dict[str, tuple[int, ...]]:
        """Shapes of what is trained at a point, by name; of several blocks, by their number."""
        shapes = KINDS[self.kind].parts(*geometry.shape(point), self.rank)
        if self.blocks == 1:
            return shapes
        (shape,) = shapes.values()  # of every gated kind
        return {str(block): shape for block in range(self.blocks)}

    def check(self, geometry: Geometry) -> None:
        """Refuse a rank that some target of a model is too small for; raises UsageError."""
        for point in self.points:
            why = KINDS[self.kind].limit(*geometry.shape(point), self.rank)
            if why:
                raise UsageError(
                    f"rank is {self.rank} for {self.kind}, but {point} of this model {why}: change "
                    "--rank."
                )


@dataclass(frozen=True)
class Slot:
    """A named range of the flat adapter: values [offset, offset + size) are `shape`."""

    name: str  # "layers.15.q", or "layers.15.q.2" of the third of several blocks
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in this slot."""
        return math.prod(self.shape)


def make_slots(spec: AdapterSpec, geometry: Geometry) -> tuple[Slot, ...]:
    """All slots in canonical order."""
    slots, offset = [], 0
    for layer in range(spec.split_layer(geometry.n_layers), geometry.n_layers):
        for point in spec.points:
            for part, shape in spec.parts(geometry, point).items():
                name = f"layers.{layer}.{point}" + (f".{part}" if part else "")
                slots.append(Slot(name, offset, shape))
                offset += slots[-1].size
    return tuple(slots)
