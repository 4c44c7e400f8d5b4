"""Learning along the directions of a bundle's learned start: θ = start + Σ_i c_i d_i.

What is estimated, journalled and stepped is c (M,); every estimator works on it as on an adapter of
M numbers, and `axes` gives the exact gradient (N6 in the idea list; EigenLoRAx trains the same
coordinates by first order). An adapter that was learned so is M numbers in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dsa_edge.adapter import Adapter, Coordinates, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.gate import Gate
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.estimators import Shapes
from dsa_edge.start import DIRECTIONS, load_directions

__all__ = ["Point", "Subspace", "Subspaces"]


# Of the bundle used last: a thousand users share one set of directions.
_KEPT: dict[tuple[str, str], tuple[Floats, Floats]] = {}


@dataclass(frozen=True, eq=False)
class Subspace:
    """start (n,) and directions (M, n), float32; id: of the learned start."""

    start: Floats = field(repr=False)
    directions: Floats = field(repr=False)
    id: str

    def vector(self, c: Floats) -> Floats:
        """θ (n,) of coordinates (M,), to the bit the same everywhere: summed in order."""
        total = np.zeros_like(self.start)
        for at in np.flatnonzero(c):
            total += c[at] * self.directions[at]
        return self.start + total

    def lanes(self, c: Floats) -> Floats:
        """θ (L, n) of coordinates (L, M), for losses, which may differ in the last bit."""
        return np.asarray(self.start + c @ self.directions, dtype=np.float32)

    def pulled(self, gradient: Floats) -> Floats:
        """A gradient (n,) as one of the coordinates (M,)."""
        return self.directions @ gradient


@dataclass(frozen=True, eq=False)
class Point:
    """Where a run begins: θ (n,), or in a subspace c (M,).

    shapes: of slots of what is learned. blocks: of each target that have slots of their own.
    """

    begin: Floats
    shapes: Shapes
    blocks: int = 1
    subspace: Subspace | None = None

    def adapter(self, learned: Floats, labels: Mapping[str, float], gate: Gate | None) -> Adapter:
        """The adapter of numbers that a run came to."""
        if self.subspace is None:
            return Adapter(learned, dict(labels), gate)
        at = Coordinates(learned, self.subspace.id)
        return Adapter(self.subspace.vector(learned), dict(labels), gate, at)


class Subspaces:
    """The subspaces of a bundle, read when they are first needed."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def first(self, count: int) -> Subspace:
        """The first directions of the bundle; UsageError where it has fewer."""
        told = self._bundle.manifest.start
        if told is None or told.directions < count:
            there = told.directions if told else 0
            raise UsageError(
                f"{count} directions were asked for, and this bundle has {there}: ask for fewer, "
                "or export it with --start and a start that has them."
            )
        start, directions = self._read()
        return Subspace(start, directions[:count], told.id)

    def whole(self, adapter: Adapter) -> Adapter:
        """An adapter as it came from a store, with its vector.

        Raises AdapterError for one along the directions of another start.
        """
        at, told = adapter.coordinates, self._bundle.manifest.start
        if at is None or adapter.vector.size:
            return adapter
        if told is None or told.id != at.start or told.directions < at.values.size:
            raise AdapterError(
                f"the adapter is {at.values.size} numbers along the directions of start "
                f"{at.start[:12]}…, and this bundle has {told.id[:12] + '…' if told else 'none'}: "
                "open the bundle that it was learned on, or roll back to version 0."
            )
        return replace(adapter, vector=self.first(at.values.size).vector(at.values))

    def settled(self, adapter: Adapter) -> Adapter:
        """An adapter with its coordinates only if the vector still follows from them."""
        told, at = self._bundle.manifest.start, adapter.coordinates
        if at is None or told is None or at.start != told.id:
            return replace(adapter, coordinates=None)
        again = self.whole(replace(adapter, vector=adapter.vector[:0]))
        same = np.array_equal(again.vector, adapter.vector)
        return adapter if same else replace(adapter, coordinates=None)

    def point(self, adapter: Adapter, along: int, version: int, shapes: Shapes) -> Point:
        """Where a run begins from a version, along so many directions, 0 for all numbers."""
        if not along:
            return Point(adapter.vector, shapes, self._bundle.manifest.adapter.blocks)
        subspace, begin = self.first(along), np.zeros(along, dtype=np.float32)
        at = adapter.coordinates
        known = at.values if at is not None else begin[:0]
        if (version and at is None) or known.size > along:
            of = f"{known.size} directions" if at else "all numbers of the adapter"
            raise UsageError(
                f"version {version} was learned along {of}, so it is not within the first {along} "
                "directions: roll back to version 0, or learn along as many."
            )
        begin[: known.size] = known
        return Point(begin, ((along,),), subspace=subspace)

    def _read(self) -> tuple[Floats, Floats]:
        """The start (n,) and all directions (M, n), kept for all users of a bundle together."""
        manifest, folder = self._bundle.manifest, self._bundle.path
        size, told = manifest.adapter_size, manifest.start
        key = str(folder), told.id if told else ""
        if key in _KEPT:
            return _KEPT[key]
        start = load_adapter(
            folder / "adapter.safetensors", manifest.identity, size, manifest.pruned,
            manifest.gate_shape,
        )  # fmt: skip
        count = told.directions if told else 0
        directions = load_directions(folder / DIRECTIONS, count, size)
        _KEPT.clear()
        return _KEPT.setdefault(key, (start.vector, directions.astype(np.float32)))
