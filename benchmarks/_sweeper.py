"""Many fits on one base: the runtime's own `fit`, with prompts that are cached once for all.

What a prompt's cache holds depends on no adapter, so every kind, estimator and seed that sees the
same examples shares it; on a GPU it stays there. Forward tokens are counted as if nothing had been
shared (`Costs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from _torch_engine import TorchEngine

from dsa_edge.adapter import Adapter
from dsa_edge.examples import Example
from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._cache import PromptCache, cache_size
from dsa_edge.runtime._encode import Encoded, Encoder
from dsa_edge.runtime._engine import Context, Ints, Prefix
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._plan import Chunks, plan_chunks
from dsa_edge.runtime._store import Store

__all__ = ["Costs", "DevicePrompts", "Sweeper"]

GB = 2**30
ROOM = 4 * GB  # for the activations of one run of the engine, and for what it reads
RATES_TRIED = 9  # lanes with which a fit tries rates before its first step, and its start


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


@dataclass(frozen=True)
class Costs:
    """Forward tokens, in units of one token through all layers of the base.

    A row of a probe runs the adapted layers alone: it counts for its share of them. A head over the
    whole vocabulary counts for as many layers as have its weights; over a few candidates for none.
    """

    layers: int
    adapted: int
    head: float  # layers

    @classmethod
    def of(cls, manifest: Manifest) -> Costs:
        """Of a bundle."""
        d, geometry = manifest.decoder, manifest.decoder
        width, ffn = int(geometry["width"]), int(geometry["ffn_width"])
        heads = (int(d["n_heads"]) + int(d["n_kv_heads"])) * int(d["head_dim"])
        layer = 2 * width * heads + 3 * width * ffn
        adapted = manifest.n_layers - manifest.split_layer
        return cls(manifest.n_layers, adapted, int(d["vocab_size"]) * width / layer)

    def row(self, choices: bool) -> float:
        """One row of a probe."""
        return (self.adapted + (0 if choices else self.head)) / self.layers

    def whole(self, rows: int, heads: int) -> float:
        """So many tokens from the bottom, of which `heads` go through the head."""
        return rows + heads * self.head / self.layers

    def before(
        self, manifest: Manifest, encoder: Encoder, examples: Sequence[Example],
        hyper: Hyperparameters, lanes: int,
    ) -> float:  # fmt: skip
        """What a fit takes before its first step: prompts, once, and a trial of its settings."""
        encoded = encoder.encode_all(examples)
        _, tokens = cache_size(manifest, items_of(encoded))
        rows = sum(len(item.tail) for example in encoded for item in example.items)
        tried = (lanes + RATES_TRIED) * hyper.batch * rows / len(encoded)
        return tokens + tried * self.row(encoded[0].tokens is not None)
