"""Attention of new tokens over one layer of a cache of all: schema and reference of generation.

    attend_cache(q, k, v, cos, sin, prefix_keys, prefix_values, keys, values, lengths, layer,
                 scale, softcap, window) -> (y, new_keys, new_values)

What `attend` does for one lane, on caches as generation holds them: those of all layers are given
whole, and only the rows of `layer` are read, in place. New keys and values leave as caches keep
them. Axes as there, and N layers in a cache:

    q             (1, B, T, H · d)      k, v   (1, B, T, G · d)            float32
    cos, sin      (B, T, rotated)       float32
    prefix_keys, prefix_values          (N, 1, G, X, d) float16
    keys, values                        (N, B, G, P, d) float16, of which `lengths` are valid
    lengths       (B) int64             layer  () int64
    y             (1, B, T, H · d)      new_keys, new_values   (1, B, G, T, d) float16
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsa_edge.kernels.attend import attend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Halves = NDArray[np.float16]

__all__ = ["SCHEMA", "attend_cache"]

SCHEMA = (
    "attend_cache(Tensor q, Tensor k, Tensor v, Tensor cos, Tensor sin, Tensor prefix_keys, "
    "Tensor prefix_values, Tensor keys, Tensor values, Tensor lengths, Tensor layer, float scale, "
    "float softcap, int window)"
)


def attend_cache(
    q: Floats,
    k: Floats,
    v: Floats,
    cos: Floats,
    sin: Floats,
    prefix_keys: Halves,
    prefix_values: Halves,
    keys: Halves,
    values: Halves,
    lengths: NDArray[np.int64],
    layer: int,
    scale: float,
    softcap: float = 0.0,
    window: int = 0,
) -> tuple[Floats, Halves, Halves]:
    """Return y (1, B, T, H · d), and the new keys and values (1, B, G, T, d)."""
    heads = [x.reshape(*x.shape[:3], -1, keys.shape[4]) for x in (q, k, v)]
    caches = [cache[layer] for cache in (prefix_keys, prefix_values, keys, values)]
    y, new_keys = attend(
        heads[0], heads[1], heads[2], cos, sin, caches[0], caches[1], caches[2], caches[3], lengths,
        scale, softcap, window,
    )  # fmt: skip
    kept = [x.swapaxes(2, 3).astype(np.float16) for x in (new_keys, heads[2])]
    return y, kept[0], kept[1]
