"""Many fits on one base: the runtime's own `fit`, with prompts that are cached once for all.

What a prompt's cache holds depends on no adapter, so every kind, estimator and seed that sees the
same examples shares it; on a GPU it stays there. Forward tokens are counted as if nothing had been
shared (`_costs.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from _torch_engine import TorchEngine

from dsa_edge.adapter import Adapter
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoded
from dsa_edge.runtime._engine import Context, Ints, Prefix
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._plan import Chunks, plan_chunks
from dsa_edge.runtime._store import Store

__all__ = ["DevicePrompts", "Sweeper"]

GB = 2**30
ROOM = 4 * GB  # for the activations of one run of the engine, and for what it reads


class DevicePrompts(PromptCache):
    """A prompt cache whose keys and values lie on the engine's device, padded to one length."""

    def __init__(
        self, engine: TorchEngine, items: Any, chunks: Chunks, group: int | None = None
    ) -> None:
        super().__init__(engine, items, chunks, group=group)
        whole = super().context(np.arange(len(self._items)))
        prefix = whole.prefix
        self._own = engine.tensors(whole.hidden, whole.keys, whole.values, whole.lengths)
        self._shared: Any = Prefix(*engine.tensors(prefix.keys, prefix.values))  # type: ignore[arg-type]
        self._arena = np.empty(0, np.uint8)

    def context(self, indices: Ints) -> Context:
        """A batch of items by index (B,), as tensors on the device."""
        hidden, keys, values, lengths = self._own
        at = hidden.new_tensor(indices, dtype=lengths.dtype)
        route = self.routes and self.routes[indices]
        given = hidden[at], keys[:, at], values[:, at], lengths[at]
        return Context(self._shared, *given, route=route)


class Sweeper(Personalizer):
    """A user in memory, with room for a whole step at once, and with prompts shared by users.

    prompts: the caches that were made so far. The adapter starts as its kind starts.
    """

    def __init__(self, engine: TorchEngine, prompts: dict[str, DevicePrompts]) -> None:
        super().__init__(engine, Store(None, engine.bundle.identity))
        self._start = Adapter(engine.start.astype(np.float32))
        self._prompts = prompts

    def _version(self, version: int) -> Adapter:
        return super()._version(version) if version else self._start

    def _chunks(
        self,
        encoded: Sequence[Encoded],
        budget: Budget,
        growth: int = 0,
        group: int | None = None,
    ) -> Chunks:
        full_head = any(example.tokens is None for example in encoded)
        planned = plan_chunks(self.bundle.manifest, Budget(), full_head)
        return replace(planned, activations=ROOM, context=ROOM, cache=2**50)

    def _within(
        self,
        encoded: Sequence[Encoded],
        chunks: Chunks,
        on_prefill: Callable[[int], object] | None = None,
        deadline: float | None = None,
        group: int | None = None,
    ) -> Objective:
        items = items_of(encoded)
        digest = hashlib.sha256(b"".join(i.prompt.tobytes() + i.tail.tobytes() for i in items))
        spec = self.bundle.manifest.adapter
        key = f"{group} {spec.blocks} {spec.active} {digest.hexdigest()}"
        if key not in self._prompts:
            self._prompts[key] = DevicePrompts(self._engine, items, chunks, group)  # type: ignore[arg-type]
        return Objective(self._engine, encoded, self._prompts[key], chunks)
