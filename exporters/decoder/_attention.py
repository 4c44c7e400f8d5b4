"""Attention of new tokens over cached segments and over themselves.

A cached segment belongs to all lanes: a shared prefix (batch 1) or each example's own prompt. Lanes
are folded into the query axis, so cached keys and values are read once and never copied per lane.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Segment", "attend"]

Segment = tuple[Tensor, Tensor]  # keys, values: (B or 1, kv, P, head_dim) each


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    cached: tuple[Segment, ...],
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    """Grouped-query attention.

    q: (L, B, T, heads, head_dim), the rows that ask; k, v: (L, B, S, kv, head_dim), the new tokens
        of each lane (S = T, or more where only the last rows ask).
    cached: segments that all lanes share; P positions together.
    mask: (B, T, P + S), added to the scores; cached positions first, in order.
    Returns (L, B, T, heads · head_dim).
    """
    lanes, batch, length, heads, dim = q.shape
    kv = k.shape[3]
    group = heads // kv
    queries = (q * scale).view(lanes, batch, length, kv, group, dim).permute(1, 3, 0, 4, 2, 5)
    rows = queries.reshape(batch, kv, lanes, group * length, dim)
    folded = rows.reshape(batch, kv, lanes * group * length, dim)
    scores = [
        (folded @ keys.transpose(2, 3)).view(batch, kv, lanes, group * length, keys.shape[2])
        for keys, _ in cached
    ]
    scores.append(rows @ k.permute(1, 3, 0, 4, 2))  # (B, kv, L, group · T, S)
    sizes = [part.shape[-1] for part in scores]
    weights = _softmax(torch.cat(scores, -1), mask, group, length, softcap).split(sizes, -1)
    out = weights[-1] @ v.permute(1, 3, 0, 2, 4)  # (B, kv, L, group · T, dim)
    for weight, (_, values) in zip(weights, cached, strict=False):
        flat = weight.reshape(batch, kv, lanes * group * length, values.shape[2])
        out = out + (flat @ values).view(batch, kv, lanes, group * length, dim)
    out = out.view(batch, kv, lanes, group, length, dim).permute(2, 0, 4, 1, 3, 5)
    return out.reshape(lanes, batch, length, heads * dim)


def _softmax(
    scores: Tensor, mask: Tensor, group: int, length: int, softcap: float | None
) -> Tensor:
    """Masked softmax over the last axis; scores (B, kv, L, group · T, K), mask (B, T, K)."""
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    batch, kv, lanes, _, keys = scores.shape
    wide = scores.view(batch, kv, lanes, group, length, keys) + mask[:, None, None, None]
    return wide.softmax(-1).view(batch, kv, lanes, group * length, keys)
