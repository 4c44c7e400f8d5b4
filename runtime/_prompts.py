"""Long prompts, part by part: as many tokens at a time as memory allows, on top of those before.

Attention is full, or, while learning on an engine that can, shifted and sparse (LongLoRA,
2309.12307): then a part needs the keys of the last group alone, so that time grows with the length
and not with its square. What follows a prompt looks at all of it in either case, as at inference.
"""

from __future__ import annotations

import numpy as np

from dsa_edge.errors import BundleError
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._engine import Engine, Floats, Halves, Ints, Prefix
from dsa_edge.runtime._plan import Chunks

__all__ = ["Cache", "group_of", "mean_of", "no_prefix", "run_prompt"]

GROW = 64  # positions by which a full cache grows
LEAST_PART = 4  # tokens that are run at a time whatever memory says; a budget refuses before that
FULL = 2**40  # a group as long as this is full attention


class Cache:
    """Keys and values (N, 1, kv, room, d) of one text, with room to grow: appending copies nothing.

    length: tokens that are in it. pooled: (D,) mean of their hidden states at the split layer.
    """

    def __init__(self, done: Prefix, room: int) -> None:
        self.length, self.pooled = done.length, done.pooled
        self.keys, self.values = _grown(done.keys, room), _grown(done.values, room)

    def append(self, keys: Halves, values: Halves, pooled: Floats | None = None) -> None:
        """Take in the keys and values (N, 1, kv, T, d) of the next tokens.

        pooled: (D,) the mean of their hidden states, until no gate will ask any more.
        """
        new = keys.shape[3]
        self.pooled = None if pooled is None else mean_of(self.pooled, self.length, pooled, new)
        missing = self.length + new - self.keys.shape[3]
        if missing > 0:
            self.keys = _grown(self.keys, max(missing, GROW))
            self.values = _grown(self.values, max(missing, GROW))
        self.keys[:, :, :, self.length : self.length + new] = keys
        self.values[:, :, :, self.length : self.length + new] = values
        self.length += new

    def prefix(self, first: int = 0) -> Prefix:
        """The tokens from `first` on, as an engine takes them: a copy, but for all there is."""
        part = slice(first, self.length)
        return Prefix(
            np.ascontiguousarray(self.keys[:, :, :, part]),
            np.ascontiguousarray(self.values[:, :, :, part]),
            self.pooled,
        )


def mean_of(
    before: Floats | None, length: int, after: Floats, new: int | Ints
) -> Floats:  # fmt: skip
    """Mean hidden states (…, D) of tokens, from the means of the first and of the new ones.

    length, new: how many they are, new also (…, 1) of them. before: None for none. The first token
    of a text is in no mean (`dsa_edge.gate`).
    """
    if before is None:
        return after
    first = max(length - 1, 0)
    new = new if length else np.maximum(np.asarray(new) - 1, 0)
    total = first * before.astype(np.float64) + new * after.astype(np.float64)
    return np.asarray(total / np.maximum(first + new, 1), dtype=np.float32)


def no_prefix(manifest: Manifest) -> Prefix:
    """A prefix of no tokens."""
    d = manifest.decoder
    shape = manifest.n_layers, 1, int(d["n_kv_heads"]), 0, int(d["head_dim"])
    empty = np.zeros(shape, dtype=np.float16)
    return Prefix(empty, empty)


def group_of(manifest: Manifest) -> int | None:
    """Tokens of a group of shifted sparse attention that a bundle was exported with, or None.

    Raises BundleError for a number that no export writes.
    """
    group = manifest.decoder.get("attention_group")
    if group is not None and (type(group) is not int or group < 2 or group % 2):
        raise BundleError(
            f"the bundle's attention group is {group!r}, expected an even number of tokens: "
            "export the bundle again."
        )
    return group


def run_prompt(
    engine: Engine,
    done: Prefix,
    tokens: Ints,
    tail: Ints,
    chunks: Chunks,
    group: int | None = None,
    room: int = 0,
) -> tuple[Cache, Floats]:
    """Run the base over a prompt's tokens (P) after those that are done, at least one of them.

    tail: (R) what follows. group: of shifted sparse attention for the prompt; None for full.
    room: positions that the cache has to spare.
    Returns the cache of X + P tokens, and the tail's hidden states (1, R, D) at the split layer.
    """
    cache = Cache(done, len(tokens) + room)
    if group is None:
        return cache, _full(engine, cache, tokens, tail, chunks)
    half, end = group // 2, cache.length + len(tokens)
    while cache.length < end:
        at = cache.length
        first = max(0, at // half - 1) * half  # further back no half of the heads sees
        size = min(_part(chunks, at - first), half - at % half)
        part = tokens[len(tokens) - (end - at) :][:size]
        new = engine.prefill_grouped(cache.prefix(first), first, part[None], group)
        mean = new.hidden[0, int(at == 0) :].sum(0) / max(1, size - int(at == 0))
        cache.append(new.keys, new.values, mean)
    return cache, engine.prefill_grouped(cache.prefix(), 0, tail[None], FULL).hidden


def _full(engine: Engine, cache: Cache, tokens: Ints, tail: Ints, chunks: Chunks) -> Floats:
    at, hidden = 0, np.empty(0, dtype=np.float32)
    while at < len(tokens):
        left = len(tokens) - at
        size = _part(chunks, cache.length)
        last = left + len(tail) <= size or left == 1
        part = tokens[at : at + (left if last else min(size - 1, left - 1))]
        # A prefill wants a response; any token does, for what precedes it does not depend on it.
        follows = tail if last else part[-1:]
        new = engine.prefill(cache.prefix(), part[None], follows[None], np.array([len(part)]))
        cache.append(new.keys, new.values, new.pooled[0] if new.pooled is not None else None)
        at, hidden = at + len(part), new.hidden
    return hidden


def _part(chunks: Chunks, before: int) -> int:
    """Tokens to run at once on top of so many."""
    most = max(LEAST_PART, chunks.prefill_tokens(before))
    return max(LEAST_PART, chunks.prefill_tokens(before + most))


def _grown(cache: Halves, room: int) -> Halves:
    padding = [(0, 0)] * 5
    padding[3] = (0, room)
    return np.pad(cache, padding) if room else cache
