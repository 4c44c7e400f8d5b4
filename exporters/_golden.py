"""The golden text: what a bundle itself says to a prompt, so that any engine can be asked again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsa_edge.exporters.onnx import Session

__all__ = ["GOLDEN_TOKENS", "golden_tokens"]

GOLDEN_TOKENS = 8


def golden_tokens(
    folder: Path, prompt: NDArray[np.int64], invocation: int, adapter_size: int
) -> list[int]:
    """Generate greedily from prompt ids with the graphs of a bundle folder, without adapter."""
    prefill, decode = Session(folder, "prefill"), Session(folder, "decode")
    adapter = np.zeros((1, adapter_size), dtype=np.float32)
    cached, tokens = prompt[None, :-invocation], prompt[None, -invocation:]
    length = np.array([cached.shape[1]])
    cache = prefill(prompt=cached, response=tokens, lengths=length)
    keys, values = cache["keys"], cache["values"]
    generated: list[int] = []
    for _ in range(GOLDEN_TOKENS):
        length = np.array([keys.shape[3]])
        out = decode(tokens=tokens, keys=keys, values=values, lengths=length, adapter=adapter)
        keys = np.concatenate([keys, out["new_keys"]], 3)
        values = np.concatenate([values, out["new_values"]], 3)
        generated.append(int(out["logits"][0].argmax()))
        tokens = np.array([generated[-1:]])
    return generated
