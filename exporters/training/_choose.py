"""How many KV groups and how many blocks: every pair that reaches the share is tried.

A KV group weighs as much as some blocks, and what a first-order estimate says of so large a step is
too little; a few forward passes with masks of 0 and 1 say it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.training._learn import logits_of
from dsa_edge.exporters.training._masks import Masks
from dsa_edge.exporters.training._texts import Biases, Sentence
from dsa_edge.exporters.training._units import Importance
from dsa_edge.pruned import Kept

__all__ = ["choose", "most"]

TRIED = 256  # sentences: 96 took the worse of two pairs, 0.617 and 0.662 nats on others
BATCH = 16


def choose(
    model: AdaptedModel,
    importance: Importance,
    pairs: Sequence[tuple[int, int]],
    given: Sequence[Sentence],
    on_detail: Callable[[str], object],
) -> tuple[int, int]:
    """The pair (KV groups, blocks) without which the task's loss is lowest.

    The loss is that of the base alone, with its labels levelled, on the first sentences.
    """
    tried, losses = given[:TRIED], []
    for groups, blocks in pairs:
        on_detail(f"trying without {groups} KV groups and {blocks} blocks a layer")
        masks = Masks(
            _mask(importance.kv, groups), _mask(importance.ffn, blocks), model.decoder.spec
        )
        losses.append(_loss(model, masks, tried))
    return pairs[int(np.argmin(losses))]


def most(scores: NDArray[np.float64], count: int) -> Kept:
    """Indices of the `count` most important units of each layer, rising."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return tuple(tuple(int(index) for index in sorted(layer)) for layer in best)


def _mask(scores: NDArray[np.float64], dropped: int) -> Tensor:
    mask = np.zeros(scores.shape, dtype=np.float32)
    np.put_along_axis(mask, np.array(most(scores, scores.shape[1] - dropped)), 1, axis=1)
    return torch.from_numpy(mask)


def _loss(model: AdaptedModel, masks: Masks, tried: Sequence[Sentence]) -> float:
    with torch.no_grad():
        parts = [
            logits_of(model, masks, None, tried[at : at + BATCH])
            for at in range(0, len(tried), BATCH)
        ]
    return float(Biases().loss(torch.cat(parts), tried).detach())
