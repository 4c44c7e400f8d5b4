"""Attention of lanes over shared caches: schema and Python reference of `dsa::attend`.

    attend(q, k, v, cos, sin, prefix_keys, prefix_values, keys, values, lengths,
           scale, softcap, window) -> (y, new_keys)

New tokens of every lane look at three segments in turn: a prefix that all examples share, their own
example's cache of `lengths` valid tokens, and the new tokens up to themselves. Caches belong to all
lanes and are never copied. Queries and new keys are rotated by `cos` and `sin` on the way.

Axes: L lanes, B examples, T new tokens, H heads, G heads of keys and values (H is a multiple of G),
d head width, X prefix, P cache.

    q                  (L, B, T, H, d)      k, v, new_keys   (L, B, T, G, d)     float32
    cos, sin           (B, T, rotated)      float32; numbers beyond `rotated` stay as they are
    prefix_keys/values (1, G, X, d)         float16, keys rotated; X may be 0
    keys, values       (B, G, P, d)         float16, keys rotated; P may be 0
    lengths            (B) int64            y                (L, B, T, H · d)    float32

scale: of the scores. softcap: c · tanh(score / c), 0 for none. window: how many tokens back a row
sees, itself included, 0 for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Halves = NDArray[np.float16]

__all__ = ["MAX_HEAD_DIM", "SCHEMA", "attend"]

SCHEMA = (
    "attend(Tensor q, Tensor k, Tensor v, Tensor cos, Tensor sin, Tensor prefix_keys, "
    "Tensor prefix_values, Tensor keys, Tensor values, Tensor lengths, float scale, "
    "float softcap, int window)"
)
MAX_HEAD_DIM = 512  # must match kMaxHeadDim in native/core/attend.h


def attend(
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
    scale: float,
    softcap: float = 0.0,
    window: int = 0,
) -> tuple[Floats, Floats]:
    """Return y (L, B, T, H · d) and the rotated new keys (L, B, T, G, d)."""
    lanes, batch, new, heads, dim = q.shape
    groups = k.shape[3]
    queries, new_keys = _rotate(q, cos, sin), _rotate(k, cos, sin)
    y = np.empty((lanes, batch, new, heads, dim), dtype=np.float32)
    for b, length in enumerate(lengths):
        seen = _visible(prefix_keys.shape[2], int(length), new, window)
        for lane in range(lanes):
            for head in range(heads):
                g = head // (heads // groups)
                own, own_values = new_keys[lane, b, :, g], v[lane, b, :, g]
                all_keys = np.concatenate([prefix_keys[0, g], keys[b, g, :length], own])
                all_values = np.concatenate(
                    [prefix_values[0, g], values[b, g, :length], own_values]
                )
                scores = (queries[lane, b, :, head] * scale) @ all_keys.T.astype(np.float32)
                if softcap:
                    scores = np.tanh(scores / softcap) * softcap
                weights = _softmax(np.where(seen, scores, -np.inf))
                y[lane, b, :, head] = weights @ all_values.astype(np.float32)
    return y.reshape(lanes, batch, new, heads * dim), new_keys


def _rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    rotated = cos.shape[-1]
    cos, sin = cos[None, :, :, None], sin[None, :, :, None]
    head, rest = x[..., :rotated], x[..., rotated:]
    first, second = np.split(head, 2, -1)
    turned = head * cos + np.concatenate([-second, first], -1) * sin
    return np.concatenate([turned, rest], -1).astype(np.float32)


def _visible(prefix: int, length: int, new: int, window: int) -> NDArray[np.bool_]:
    """(T, X + length + T): keys lie at positions 0, 1, 2 …, the new tokens last."""
    here = prefix + length + np.arange(new)[:, None]
    distance = here - np.arange(prefix + length + new)
    near: NDArray[np.bool_] = (distance >= 0) & ((distance < window) | (window == 0))
    return near


def _softmax(scores: Floats) -> Floats:
    p = np.exp(scores - scores.max(-1, keepdims=True))
    normal: Floats = p / p.sum(-1, keepdims=True)
    return normal
