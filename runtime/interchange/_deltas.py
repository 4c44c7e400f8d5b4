"""Adapters of ours as low-rank products: W + B A, with A (r, n_in) and B (n_out, r) of each linear.

    lora         A, B            as they are
    lora-frozen  V, B            V float16 in the bundle
    core         V, U C          U, V float16 in the bundle
    diagonal     V, U diag(c)
    kron         A[p, i k + p] = a_i,  B[j k + m, p] = b_j C[p, m]        rank k
    columns      A[p, index_p] = unit, Δ

Float16 factors are exact in float32, so each is exact but for one rounding of a product to float32
(relative 6e-8). The other kinds are no low-rank change of a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.kinds import Geometry
from dsa_edge.weights import read_frozen

__all__ = ["Delta", "deltas"]

Floats = NDArray[np.float32]
Parts = Mapping[str, Floats]  # the trained tensors of a linear by name; a single one has none
Frozen = Callable[[str], NDArray[Any]]  # a frozen tensor of the linear by name
Pair = tuple[Floats, Floats]


@dataclass(frozen=True)
class Delta:
    """What an adapter adds to one linear: `b` (n_out, r) times `a` (r, n_in)."""

    layer: int
    target: str
    a: Floats
    b: Floats

    @property
    def dense(self) -> Floats:
        """(n_out, n_in)."""
        return self.b @ self.a


def _lora(parts: Parts, frozen: Frozen, shape: tuple[int, int]) -> Pair:
    return parts["a"], parts["b"]


def _frozen_lora(parts: Parts, frozen: Frozen, shape: tuple[int, int]) -> Pair:
    return frozen("v").astype(np.float32), parts[""]


def _core(parts: Parts, frozen: Frozen, shape: tuple[int, int]) -> Pair:
    u, v, core = frozen("u"), frozen("v"), parts[""]
    wide = np.diag(core) if core.ndim == 1 else core
    return v[0].T.astype(np.float32), u[0].T.astype(np.float32) @ wide


def _kron(parts: Parts, frozen: Frozen, shape: tuple[int, int]) -> Pair:
    a, b, c = parts["a"], parts["b"], parts["c"]
    one = np.eye(len(c), dtype=np.float32)
    return np.kron(a[None], one), np.kron(b[:, None], c.T)


def _columns(parts: Parts, frozen: Frozen, shape: tuple[int, int]) -> Pair:
    index, delta = frozen("index"), parts[""]
    a = np.zeros((len(index), shape[1]), np.float32)
    a[np.arange(len(index)), index] = frozen("unit").astype(np.float32)
    return a, delta


_PAIRS: dict[str, Callable[[Parts, Frozen, tuple[int, int]], Pair]] = {
    "lora": _lora,
    "lora-frozen": _frozen_lora,
    "core": _core,
    "diagonal": _core,
    "kron": _kron,
    "columns": _columns,
}


def deltas(bundle: Bundle, adapter: Adapter) -> list[Delta]:
    """What an adapter adds to each linear of a bundle, in canonical order.

    Raises AdapterError for a kind that is no low-rank change of weights, and for several blocks.
    """
    manifest = bundle.manifest
    kind, geometry = manifest.adapter.kind, Geometry.of(manifest.decoder)
    if kind not in _PAIRS:
        raise AdapterError(
            f"the adapter is of kind {kind}, which is no low-rank change of weights; expected one "
            f"of {', '.join(_PAIRS)}: export the base again with one of these for what has to go "
            "to other libraries."
        )
    if manifest.adapter.blocks > 1:
        raise AdapterError(
            f"the adapter has {manifest.adapter.blocks} blocks that a gate chooses from for each "
            "prompt, expected one block, which is the same change of weights for all: export the "
            "base again without --blocks for what has to go to other libraries."
        )
    stored = {} if kind in ("lora", "kron") else read_frozen(bundle)
    made = []
    for (layer, target), parts in _trained(bundle, adapter).items():

        def frozen(name: str, stem: str = f"blocks.{layer}.blocks.{target}") -> NDArray[Any]:
            return stored[f"{stem}.{name}"]

        a, b = _PAIRS[kind](parts, frozen, geometry.shape(target))
        made.append(Delta(layer, target, np.ascontiguousarray(a), np.ascontiguousarray(b)))
    return made


def _trained(bundle: Bundle, adapter: Adapter) -> dict[tuple[int, str], dict[str, Floats]]:
    """The trained tensors of each linear by name."""
    found: dict[tuple[int, str], dict[str, Floats]] = {}
    for slot in bundle.manifest.slots:
        _, layer, target, *part = slot.name.split(".")
        values = adapter.vector[slot.offset : slot.offset + slot.size].reshape(slot.shape)
        found.setdefault((int(layer), target), {})[".".join(part)] = values
    return found
