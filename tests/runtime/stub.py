"""An engine without a model: scores are a known function of the adapter, so learning is checkable.

Each example's prompt ends with a token w; lane θ scores its two choices by ± θ·u_w, where u_w is a
fixed random direction. What the right θ is, and how fast it can be found, is then known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsa_edge.bundle import Bundle
from dsa_edge.examples import Example
from dsa_edge.runtime._engine import (
    Context,
    Decoded,
    Floats,
    Halves,
    Ints,
    Prefilled,
    Prefix,
    Route,
)
from dsa_edge.runtime._plan import Chunks

COMMON = "Rain fell on the roof all night, "
EXAMPLES = [
    Example(COMMON + "and the garden was", " a", (" a", " b")),
    Example(COMMON + "and", " b", (" a", " b")),
    Example(COMMON + "she wrote 12 letters in 2024 and posted", " a", (" a", " b")),
    Example(COMMON + "warm", " b", (" a", " b")),
]


def fixed_chunks(rows: int = 10_000, cache: int = 2**30, tokens: int = 400) -> Chunks:
    """Chunks of so many probe rows and prefill tokens, whatever the length of the prompts."""
    return Chunks(rows * tokens, 2**30, cache, probed=tokens, prefilled=rows, key=0)


class StubEngine:
    """Stands in for an engine; `broken` makes every loss NaN."""

    name, kernels, loaded_mb, from_storage, gradients = "stub", "none", 0.0, 0, False
    grouped = False
    mixes = True

    def __init__(self, bundle: Path, broken: bool = False) -> None:
        self.bundle = Bundle.open(bundle, check_hashes=False)
        self.broken = broken
        self.runs: list[int] = []  # rows of each run
        d = self.bundle.manifest.decoder
        self._width, self._kv, self._dim = d["width"], d["n_kv_heads"], d["head_dim"]
        shape = (int(d["vocab_size"]), self.bundle.manifest.adapter_size)
        self._directions = np.random.default_rng(0).standard_normal(shape) / np.sqrt(shape[1])

    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        batch, rows = response.shape
        hidden = np.zeros((batch, rows, self._width), np.float32)
        hidden[:, -1, 0] = response[:, 0]  # the invocation: the last prompt token
        layers = self.bundle.manifest.n_layers
        cache = np.zeros((layers, batch, self._kv, prompt.shape[1], self._dim), np.float16)
        return Prefilled(hidden, cache, cache, np.zeros((batch, self._width), np.float32))

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        self.runs.append(len(adapter) * len(context.hidden))
        tokens = context.hidden[:, -1, 0].astype(int)
        margin = adapter.astype(np.float64) @ self._directions[tokens].T * 8  # (L, B)
        scores = np.stack([margin, -margin], -1)
        if self.broken:
            return np.full_like(scores, np.nan, dtype=np.float32)
        return (scores - np.logaddexp(scores[..., :1], scores[..., 1:])).astype(np.float32)

    def probe(self, context: Context, adapter: Floats, targets: Ints, weights: Floats) -> Floats:
        raise AssertionError("single-token choices do not need the full head")

    def decode(
        self, tokens: Ints, prefix: Prefix, keys: Halves, values: Halves, lengths: Ints,
        adapter: Floats, route: Route | None = None,
    ) -> Decoded:  # fmt: skip
        raise AssertionError("learning does not decode")

    def release(self, *methods: str) -> None:
        return

    def keep_within(self, mb: float | None) -> None:
        return
