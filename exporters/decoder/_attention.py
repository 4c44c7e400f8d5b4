"""Attention of new tokens over a shared, cached context and over themselves.

All lanes of an example share its context, so lanes are folded into the query axis: keys and
values of the prompt are read once and never copied per lane.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attend"]


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    context: tuple[Tensor, Tensor] | None,
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    """Grouped-query attention.

    q: (L, B, T, heads, head_dim), the rows that ask; k, v: (L, B, S, kv, head_dim), the new tokens
        of each lane (S = T, or more where only the last rows ask).
    mask: (B, T, P + S), added to the scores; P is 0 without a context.
    context: keys and values (B, kv, P, head_dim) shared by all lanes, or None.
    Returns (L, B, T, heads · head_dim).
    """
    lanes, batch, length, heads, dim = q.shape
    kv = k.shape[3]
    group = heads // kv
    queries = (q * scale).view(lanes, batch, length, kv, group, dim).permute(1, 3, 0, 4, 2, 5)
    rows = queries.reshape(batch, kv, lanes, group * length, dim)
    scores = rows @ k.permute(1, 3, 0, 4, 2)  # (B, kv, L, group · T, S)
    past = 0 if context is None else context[0].shape[2]
    if context is not None:
        folded = rows.reshape(batch, kv, lanes * group * length, dim)
        shared = folded @ context[0].transpose(2, 3)
        scores = torch.cat([shared.view(batch, kv, lanes, group * length, past), scores], -1)
    scores = _softmax(scores, mask, group, length, softcap)
    out = scores[..., past:] @ v.permute(1, 3, 0, 2, 4)  # (B, kv, L, group · T, dim)
    if context is not None:
        weights = scores[..., :past].reshape(batch, kv, lanes * group * length, past)
        out = out + (weights @ context[1]).view(batch, kv, lanes, group * length, dim)
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
