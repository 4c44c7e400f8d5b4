"""Pruned bases alone, in float32 on torch, without an export: criteria side by side.

Label biases are levelled by the median score, so that what is left of the task is compared, and not
which label a damaged base prefers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.demo import LABELS, find_model, review_sentences
from dsa_edge.exporters.checkpoint import open_checkpoint, tokenizer_info
from dsa_edge.exporters.decoder import Decoder, build_decoder
from dsa_edge.exporters.training import CRITERIA, Importance, Pruning, prune
from dsa_edge.exporters.training._texts import Sentence, padded, sentences
from dsa_edge.tokenizer import Tokenizer

__all__ = ["alone"]

BATCH = 16


def alone(dropped: Mapping[float, int], known: Importance, test: int) -> Iterator[dict[str, Any]]:
    """Scores of the base, and of each criterion at each share.

    dropped: share → KV groups that the bundle of the learned masks has dropped; all criteria do so.
    """
    source = open_checkpoint(find_model())
    tokenizer = Tokenizer(source.tokenizer_json, tokenizer_info(source))
    _, held_out = review_sentences(64, test)
    judged = sentences([LABELS.example(*row) for row in held_out], tokenizer)
    yield {"share": 0.0, "by": "whole", **scores(build_decoder(source, "none"), judged)}
    for share, groups in dropped.items():
        for by in CRITERIA:
            importance = known if by == "learned" else None
            wanted = Pruning(share, by=by, known=importance, kv_groups=groups)
            thinned = prune(source, AdapterSpec(), wanted)
            found = scores(build_decoder(thinned.source, "none"), judged)
            told = {"dropped": groups, "neurons": thinned.source.spec.ffn_width}
            yield {"share": thinned.pruned.share, "by": by, **told, **found}


@torch.no_grad()
def scores(decoder: Decoder, judged: Sequence[Sentence]) -> dict[str, float]:
    """Accuracy as it is and levelled, area under the curve, and levelled loss in nats."""
    margins = torch.cat([_margins(decoder, judged[at : at + BATCH])
                         for at in range(0, len(judged), BATCH)])  # fmt: skip
    right = torch.tensor([s.choices.index(s.targets[0]) for s in judged])
    level = margins - margins.median()
    wins = margins[right == 1][:, None] - margins[right == 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(level, right.float())
    return {
        "accuracy": float(((margins > 0) == right).float().mean()),
        "levelled": float(((level > 0) == right).float().mean()),
        "auc": float((wins > 0).float().mean()),
        "loss": float(loss),
    }


def _margins(decoder: Decoder, batch: Sequence[Sentence]) -> Tensor:
    """(B,) score of the second label over the first."""
    last = torch.tensor([sentence.first for sentence in batch])
    x = decoder.states(padded(batch))[0][torch.arange(len(batch)), last]
    logits = decoder.top.some(x, torch.tensor(batch[0].choices))
    return logits[:, 1] - logits[:, 0]
