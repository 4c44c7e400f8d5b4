"""The adapter as inputs of the layer programs: cores from the flat vector, factors from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.kinds import KINDS, TARGETS
from dsa_edge.runtime._engine import Floats, Route

__all__ = ["Blocks"]

Arrays = list[NDArray[Any]]


class Blocks:
    """The blocks of one bundle; every target has as many, or none.

    Programs of all layers take those of gated kinds as cores and factors.
    """

    def __init__(self, bundle: Bundle) -> None:
        from safetensors.numpy import load_file

        manifest = bundle.manifest
        assert manifest.executorch is not None  # the engine has checked
        self._spec, self._split = manifest.adapter, manifest.split_layer
        self._own = not KINDS[self._spec.kind].gated
        self._size = manifest.adapter_size // (manifest.n_layers - self._split)
        rank = 1 if self._own else self._spec.rank
        blocks = self._spec.blocks
        diagonal = self._spec.kind == "diagonal"
        self._core = (blocks, rank) if diagonal else (blocks, rank, rank)
        self._frozen = load_file(bundle.path / manifest.executorch.factors)

    def route(self, batch: int, given: Route | None) -> Arrays:
        """Index and weight (B, K) of the blocks of each example; without a route, the first."""
        route = given or Route.first(batch, self._spec.active)
        return [np.ascontiguousarray(route.index), np.ascontiguousarray(route.weight)]

    def of_layer(self, layer: int, slots: Floats | None, lanes: int) -> Arrays:
        """What a layer's program takes of the adapter.

        slots: (L, n_layer) of the adapter; None for no adapter, in any number of lanes.
        """
        if self._own and layer >= self._split:
            return self._slots(layer, slots, lanes)
        return self._cores(layer, slots, lanes)

    def _slots(self, layer: int, slots: Floats | None, lanes: int) -> Arrays:
        """The slots, zeros for no adapter, and what is frozen, by point and name."""
        given = np.zeros((lanes, self._size), np.float32) if slots is None else slots
        frozen: Arrays = []
        for point in self._spec.points:
            first = f"layers.{layer}.{point}."
            frozen += [self._frozen[k] for k in sorted(self._frozen) if k.startswith(first)]
        return [np.ascontiguousarray(given), *frozen]

    def _cores(self, layer: int, slots: Floats | None, lanes: int) -> Arrays:
        """Core, u and v of every target."""
        used = self._spec.points if slots is not None else ()
        parts = [] if slots is None else np.split(slots, len(used), 1)
        cores = dict(zip(used, parts, strict=True))
        given: Arrays = []
        for target in TARGETS:
            if target in cores:
                where, core = f"layers.{layer}", cores[target].reshape(-1, *self._core)
            else:
                where, core = "none", np.zeros((lanes, 0, *self._core[1:]), dtype=np.float32)
            given += [core, *(self._frozen[f"{where}.{target}.{part}"] for part in "uv")]
        return given
