"""Calibration texts: JSONL that `dsa-edge` reads elsewhere too, or strings → rows of token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dsa_edge.errors import UsageError
from dsa_edge.examples import read_texts
from dsa_edge.tokenizer import Tokenizer

__all__ = ["LEAST", "LENGTH", "calibration_rows", "digest_of"]

LENGTH = 256  # tokens of a row: what prompts on a device are long
LEAST = 64  # tokens: with fewer, H says nothing of most inputs
MOST = 2**15  # tokens; more change little (docs/results/quantization.md), and cost time


def calibration_rows(texts: str | Path | Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """Token ids (rows, length) int64 of texts one after the other, cut into rows.

    texts: a JSONL file, or the texts themselves. Raises ExampleError for a file that is none, and
    UsageError for texts that are none, or are too short to tell anything.
    """
    named = isinstance(texts, (str, Path))
    found = read_texts(texts, tokenizer.chat) if isinstance(texts, (str, Path)) else _checked(texts)
    ids: list[int] = []
    for text in found:
        ids += tokenizer.encode_prompt(text) + tokenizer.encode_prompt("\n\n")
        if len(ids) >= MOST:
            break
    if len(ids) < LEAST:
        raise UsageError(
            f"the calibration texts{f' in {texts}' if named else ''} have {len(ids)} tokens, "
            f"expected at least {LEAST} and better {MOST}: give more text like what the model will "
            "be used on."
        )
    length = min(LENGTH, len(ids))
    rows = min(len(ids), MOST) // length
    return torch.tensor(ids[: rows * length]).view(rows, length)


def digest_of(rows: Tensor) -> str:
    """Hash of calibration rows in hex: what was calibrated on, without the texts."""
    content = json.dumps([list(rows.shape), rows.flatten().tolist()])
    return hashlib.sha256(content.encode()).hexdigest()


def _checked(texts: Sequence[str]) -> list[str]:
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise UsageError(
            f"a calibration text is a {type(wrong).__name__}, expected a string: give a JSONL file "
            "or a list of strings."
        )
    return list(texts)
