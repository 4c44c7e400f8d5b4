"""Prompt caches: what the base makes of each prompt, computed once and reused by every probe.

Prompts from one template often begin alike, with instructions or worked examples: the tokens that
all of them share are run and kept once. A prompt that memory cannot run whole is run part by part.

Everything lies in one arena of bytes: in memory up to a bound, in a memory-mapped file beyond it.
The file is unlinked as soon as it exists, so no prompt outlives the process; for a sealed store it
is encrypted as well, with a key that exists in this process alone.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsa_edge.clusters import alike
from dsa_edge.errors import BudgetError
from dsa_edge.gate import Gate, routes_of
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._encode import Item
from dsa_edge.runtime._engine import Context, Engine, Floats, Halves, Ints, Route
from dsa_edge.runtime._plan import LEAST, Chunks, spills
from dsa_edge.runtime._prompts import mean_of, no_prefix, run_prompt
from dsa_edge.runtime._vault import PageCipher

__all__ = ["PromptCache", "cache_size", "largest_item"]

GROUP = 32  # items cached between two looks at the clock
SHARED_LEAST = 4  # shorter beginnings are not worth a run of their own


class PromptCache:
    """Hidden states and adapted layers' keys and values of a list of items.

    prefix: what all prompts begin with, kept in memory. Per item: hidden (R, D) float32, then
    keys and values (A, kv, P, d) float16 each of the rest of its prompt.
    chunks: what may stay in memory, more goes to an unlinked file in `folder`; and what a prefill
    may hold. deadline: `perf_counter` after which no further group of items is begun; the first
    one, of at least `least` items, is cached whenever that is. sealed: encrypt what goes to a file.
    group: tokens of a group of shifted sparse attention for all prompts; None for full attention.
    ready: items that are cached, the first so many.
    pooled: (items, D) mean hidden states of the whole prompts, where a gate will read them.
    Raises BudgetError when neither memory nor disk has room, or a prompt is too long for its bound.
    """

    def __init__(
        self,
        engine: Engine,
        items: Sequence[Item],
        chunks: Chunks,
        folder: Path | None = None,
        on_item: Callable[[int], object] = lambda _: None,
        deadline: float | None = None,
        least: int = 1,
        sealed: bool = False,
        group: int | None = None,
    ) -> None:
        self._shape, self._chunks, self.group = _Shape(engine.bundle.manifest), chunks, group
        shared = _shared(items)
        self._prefix = no_prefix(engine.bundle.manifest)
        if shared:
            start = items[0].prompt[:shared]
            done, _ = run_prompt(engine, self._prefix, start, start[-1:], chunks, group)
            self._prefix = done.prefix()
        spec, width = engine.bundle.manifest.adapter, self._shape.width
        self._active, self._alike = spec.active, alike([item.prompt for item in items])
        self.pooled = np.zeros((len(items) if spec.blocks > 1 else 0, width), dtype=np.float32)
        self.routes: Route | None = None
        self._items = [replace(item, prompt=item.prompt[shared:]) for item in items]
        sizes = [self._shape.item_bytes(item) for item in self._items]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.bytes = int(self._offsets[-1])
        self.spilled = spills(self.bytes, chunks)
        self._file = _reserved_file(self.bytes, folder) if self.spilled else None
        self._arena = (
            np.zeros(self.bytes, dtype=np.uint8)
            if self._file is None
            else np.frombuffer(self._file, dtype=np.uint8)
        )
        self._cipher = PageCipher() if sealed and self.spilled else None
        self.ready = 0
        for part in _groups(len(items), deadline, least):
            for batch in self._batches(part):
                self._prefill(engine, batch)
                self._forget_pages()
                on_item(len(batch))
            self.ready = part.stop

    def route_by(self, gate: Gate | None) -> None:
        """Let a gate choose the blocks for every item; None leaves the choice to the engine.

        Items of the same prompt have the same route, whatever rounding makes of their states.
        """
        self.routes = None if gate is None else gate.route(self.pooled[self._alike], self._active)

    def route_as(self, indices: Ints, blocks: Ints) -> None:
        """Give items the routes (B, k) that were drawn for them, until a gate routes all again."""
        assert self.routes is not None  # a gate came first
        self.routes.index[indices] = blocks

    def route_each(self, gates: Sequence[Gate | None]) -> None:
        """Let each item's own gate choose its blocks, where there are several to choose from."""
        if len(self.pooled):
            self.routes = routes_of(gates, self.pooled[self._alike], self._active)

    def context(self, indices: Ints) -> Context:
        """A padded batch of items by index (B,)."""
        items = [self._items[i] for i in indices]
        rows = max(len(item.tail) for item in items)
        past = max(len(item.prompt) for item in items)
        shape = self._shape
        hidden = np.zeros((len(items), rows, shape.width), dtype=np.float32)
        keys = np.zeros((shape.layers, len(items), shape.kv, past, shape.dim), dtype=np.float16)
        values = np.zeros_like(keys)
        for at, (index, item) in enumerate(zip(indices, items, strict=True)):
            states, k, v = self._views(int(index), self._read(int(index)))
            hidden[at, : len(item.tail)] = states
            keys[:, at, :, : len(item.prompt)] = k
            values[:, at, :, : len(item.prompt)] = v
        self._forget_pages()
        lengths = np.array([len(item.prompt) for item in items], dtype=np.int64)
        first = self._shape.first
        route = self.routes and self.routes[indices]
        return Context(self._prefix.from_layer(first), hidden, keys, values, lengths, route=route)

    def padded_bytes(self, count: int, prompt: int) -> int:
        """Bytes of the keys and values of `count` items with prompts of at most so many tokens."""
        own = max(1, prompt - self._prefix.length)
        return 2 * 2 * count * own * self._shape.layers * self._shape.kv * self._shape.dim

    def _batches(self, part: range) -> list[list[int]]:
        """Indices in batches of similar length, each within what a prefill may hold, or alone."""
        by_length = sorted(part, key=lambda i: _tokens(self._items[i]))
        batches: list[list[int]] = [[]]
        for index in by_length:
            length, room = _tokens(self._items[index]), self._room(self._items[index])
            if (len(batches[-1]) + 1) * length > room or self.group is not None:
                batches.append([])
            batches[-1].append(index)
        return [batch for batch in batches if batch]

    def _room(self, item: Item) -> int:
        """Tokens that a prefill may hold which sees as much as this item.

        Raises BudgetError where the item would have to be run in too small parts.
        """
        length = _tokens(item)
        room = self._chunks.prefill_tokens(self._prefix.length + length)
        if self._chunks.strict and room < min(length, LEAST + len(item.tail)):
            raise BudgetError(
                f"an example has {length} tokens, and memory_mb has room for {room} at a time: "
                "raise memory_mb or shorten the example."
            )
        return room

    def _prefill(self, engine: Engine, batch: list[int]) -> None:
        items = [self._items[i] for i in batch]
        if self.group is not None or _tokens(items[0]) > self._room(items[0]):
            self._prefill_parts(engine, batch[0])
            return
        prompts, tails = _pad([i.prompt for i in items]), _pad([i.tail for i in items])
        lengths = np.array([len(item.prompt) for item in items], dtype=np.int64)
        result = engine.prefill(self._prefix, prompts, tails, lengths)
        for at, index in enumerate(batch):
            self._keep(index, result.hidden[at], result.keys[:, at], result.values[:, at])
        if len(self.pooled) and result.pooled is not None:
            means = mean_of(
                self._prefix.pooled, self._prefix.length, result.pooled, lengths[:, None]
            )
            self.pooled[batch] = means

    def _prefill_parts(self, engine: Engine, index: int) -> None:
        """One item, alone and as many of its tokens at a time as there is room for."""
        item, own = self._items[index], slice(self._prefix.length, None)
        cache, hidden = run_prompt(
            engine, self._prefix, item.prompt, item.tail, self._chunks, self.group
        )
        self._keep(index, hidden[0], cache.keys[:, 0, :, own], cache.values[:, 0, :, own])
        if len(self.pooled):
            self.pooled[index] = cache.pooled

    def _keep(self, index: int, hidden: Floats, all_keys: Halves, all_values: Halves) -> None:
        """Store what an item needs of hidden (R, D), keys and values (N, kv, P, d): no padding."""
        place, first = slice(*self._offsets[index : index + 2]), self._shape.first
        raw = self._arena[place] if self._cipher is None else np.empty_like(self._arena[place])
        states, keys, values = self._views(index, raw)
        states[:] = hidden[: len(states)]
        keys[:] = all_keys[first:, :, : keys.shape[2]]
        values[:] = all_values[first:, :, : values.shape[2]]
        if self._cipher is not None:
            self._arena[place] = self._cipher.apply(raw, index)

    def _read(self, index: int) -> NDArray[np.uint8]:
        """The bytes of one item."""
        raw = self._arena[self._offsets[index] : self._offsets[index + 1]]
        return raw if self._cipher is None else self._cipher.apply(raw, index)

    def _views(
        self, index: int, raw: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], Halves, Halves]:
        """Views of one item's hidden states, keys and values in its bytes."""
        item, shape = self._items[index], self._shape
        split = len(item.tail) * shape.width * 4
        half = split + (len(raw) - split) // 2
        cache = (shape.layers, shape.kv, len(item.prompt), shape.dim)
        return (
            raw[:split].view(np.float32).reshape(len(item.tail), shape.width),
            raw[split:half].view(np.float16).reshape(cache),
            raw[half:].view(np.float16).reshape(cache),
        )

    def _forget_pages(self) -> None:
        """Let the kernel drop this process's pages of the file: they count as our memory."""
        if self._file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)


class _Shape:
    """The numbers of a model that fix a cache's size."""

    def __init__(self, manifest: Manifest) -> None:
        self.first = manifest.split_layer
        self.layers = manifest.n_layers - self.first
        self.width = int(manifest.decoder["width"])
        self.kv = int(manifest.decoder["n_kv_heads"])
        self.dim = int(manifest.decoder["head_dim"])

    def item_bytes(self, item: Item) -> int:
        cache = 2 * self.layers * self.kv * len(item.prompt) * self.dim * 2
        return len(item.tail) * self.width * 4 + cache


def cache_size(manifest: Manifest, items: Sequence[Item]) -> tuple[int, int]:
    """Bytes of a cache of these items, and the tokens that are run for it."""
    shape, shared = _Shape(manifest), _shared(items)
    own = [replace(item, prompt=item.prompt[shared:]) for item in items]
    tokens = shared + sum(len(item.prompt) + len(item.tail) for item in own)
    return sum(map(shape.item_bytes, own)), tokens


def largest_item(manifest: Manifest, items: Sequence[Item]) -> int:
    """Bytes of the largest item of a cache: those that a file's pages hold while it is written."""
    shape, shared = _Shape(manifest), _shared(items)
    return max(shape.item_bytes(replace(item, prompt=item.prompt[shared:])) for item in items)


def _shared(items: Sequence[Item]) -> int:
    """Tokens that all prompts begin with; each keeps at least one of its own."""
    first = items[0].prompt
    shared = min(len(item.prompt) for item in items) - 1
    for item in items:
        differing = np.flatnonzero(item.prompt[:shared] != first[:shared])
        shared = int(differing[0]) if differing.size else shared
    return shared if len(items) > 1 and shared >= SHARED_LEAST else 0


def _reserved_file(size: int, folder: Path | None) -> mmap.mmap:
    """`size` bytes of a mapped file whose blocks are reserved: writing can no longer fail."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".prompts-", dir=folder)
    except OSError as error:
        raise BudgetError(
            f"no prompt cache can be made in {folder} ({error.strerror}): choose another store."
        ) from error
    try:
        os.unlink(name)
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        raise BudgetError(
            f"the prompt cache needs {math.ceil(size / 2**20)} MB of disk and cannot have it "
            f"({error.strerror}): free some space, raise memory_mb, or give fewer examples."
        ) from error
    finally:
        os.close(descriptor)


def _groups(count: int, deadline: float | None, least: int) -> Iterator[range]:
    """Stretches of items to cache one after the other, all at once if time does not matter."""
    size = count if deadline is None else max(GROUP, least)
    for start in range(0, count, size):
        if start == 0 or deadline is None or time.perf_counter() < deadline:
            yield range(start, min(start + size, count))


def _tokens(item: Item) -> int:
    """Of an item's own, that a prefill runs."""
    return len(item.prompt) + len(item.tail)


def _pad(rows: Sequence[Ints]) -> Ints:
    out = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out
