"""Shifted sparse attention (LongLoRA, 2309.12307, section 3.2): attention inside groups of tokens.

One half of the heads attends inside groups of G tokens, the other half inside groups that begin
G/2 earlier, so that neighbouring groups hand on what they know. The paper rolls half of the heads
and attends causally inside equal groups, where the last group holds the first G/2 tokens behind the
last ones and lets them see the end of the text. A mask by position has no such wrap:

    a row at p sees a key at k   iff   k ≤ p   and   (p + s) div G = (k + s) div G

with s = 0 for the first half of the heads and s = G/2 for the second. No row sees further back than
G tokens, so a prompt can be run in parts on top of the keys of the last G tokens: time is linear in
its length, and memory does not depend on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.exporters.decoder._attention import Segment, attend

__all__ = ["attend_grouped", "grouped_masks"]


def grouped_masks(
    mask: Tensor, positions: Tensor, keys: Tensor, group: Tensor, masked: float
) -> Tensor:
    """Masks (2, B, T, K) of both halves of the heads, from the mask (B, T, K) of full attention.

    positions: (T) and keys: (K) int64, from the start of the text; group: (1) int64, even.
    masked: what is added to the score of a key that must not be seen.
    """
    halves = []
    for shift in (torch.zeros_like(group), group // 2):
        own, other = (positions + shift) // group, (keys + shift) // group
        together = own.unsqueeze(1) == other.unsqueeze(0)  # (T, K)
        halves.append(torch.where(together, mask, masked))
    return torch.stack(halves)


def attend_grouped(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    masks: Tensor,
    cached: tuple[Segment, ...],
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    """`attend` with masks (2, B, T, P + S): one for each half of the heads.

    Halves are made of whole key heads, with all queries that share them, where there are several;
    of an odd number of heads the shifted half has one more, as in the paper's code.
    """
    heads, kv = q.shape[3], k.shape[3]
    near = kv // 2 if kv > 1 else kv  # key heads of the unshifted half
    asking = near * (heads // kv) if kv > 1 else heads // 2
    first, rest = slice(0, near), slice(near if kv > 1 else 0, kv)
    parts = [
        attend(
            queries, k[:, :, :, own], v[:, :, :, own], mask,
            tuple((keys[:, own], values[:, own]) for keys, values in cached), scale, softcap,
        )
        for queries, own, mask in (
            (q[:, :, :, :asking], first, masks[0]), (q[:, :, :, asking:], rest, masks[1])
        )
    ]  # fmt: skip
    return torch.cat(parts, -1)
