"""The engine over ExecuTorch: a chain of layer programs, which this file hides.

Every method runs the same programs. Rows of all lanes, examples and tokens lie in one axis; the
ends of the model, embedding and choice of candidates, are a few rows of a table and done here.
Shapes are those of `_engine.py`; A adapted layers, N all layers, M rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError, EngineError
from dsa_edge.kernels.library import instruction_set
from dsa_edge.manifest import ProgramInfo
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
from dsa_edge.runtime._executorch_bindings import Bindings
from dsa_edge.runtime._executorch_blocks import Blocks
from dsa_edge.runtime._executorch_ends import Ends
from dsa_edge.runtime._memory import release_freed

__all__ = ["ExecutorchEngine"]


NO_GROUPS = (
    "shifted sparse attention runs on ONNX Runtime alone: open the bundle with backend 'onnx', or "
    "learn with full attention."
)
NO_GRADIENTS = (
    "exact gradients run on ONNX Runtime alone: open the bundle with backend 'onnx', or use "
    "another estimator than exact."
)


class ExecutorchEngine:
    """Runs the `executorch/` programs of a bundle.

    threads: of ExecuTorch's pool, which all engines of a process share; None takes all cores.
    layers_kept: layer programs that stay loaded at most; with fewer than the model has, the others
        are loaded from storage each time they are needed.
    Raises MissingDependencyError without executorch, EngineError when an operator is missing or the
    programs were made for another version, BundleError when the bundle has none.
    """

    name = "executorch"
    gradients = False
    grouped = False
    mixes = True

    def __init__(
        self, bundle: Bundle, threads: int | None = None, layers_kept: int | None = None
    ) -> None:
        if bundle.manifest.executorch is None:
            raise BundleError(
                f"{bundle.path} has no ExecuTorch programs: export it with `--backend "
                "onnx,executorch`, or use the ONNX backend."
            )
        self.bundle, self.info = bundle, bundle.manifest.executorch
        self._bindings = Bindings(self.info, threads)
        self.kernels = instruction_set()
        self._programs: dict[int, Any] = {}  # in the order in which they were loaded
        self._geometry = bundle.manifest.decoder
        self._most = min(layers_kept or bundle.manifest.n_layers, bundle.manifest.n_layers)
        self.keep_within(None)
        self._head: Any = None
        self._ends, self._blocks = Ends(bundle), Blocks(bundle)
        self._split = bundle.manifest.split_layer

    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        """See `Engine`."""
        most = max(1, self.info.rows // max(1, prompt.shape[1], response.shape[1]))
        parts = [
            self._prefill(
                prefix, prompt[i : i + most], response[i : i + most], lengths[i : i + most]
            )
            for i in range(0, len(prompt), most)
        ]
        if len(parts) == 1:
            return parts[0]
        return Prefilled(
            np.concatenate([part.hidden for part in parts]),
            np.concatenate([part.keys for part in parts], 1),
            np.concatenate([part.values for part in parts], 1),
            np.concatenate([part.pooled for part in parts if part.pooled is not None]),
        )

    def prefill_grouped(self, prefix: Prefix, start: int, prompt: Ints, group: int) -> Prefilled:
        """See `Engine`."""
        raise EngineError(NO_GROUPS)

    def _prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        x, hidden = self._ends.embed(prompt)[None], self._ends.embed(response)[None]
        keys, values = [], []
        pooled = np.empty((len(prompt), x.shape[-1]), dtype=np.float32)
        for layer in range(self.bundle.manifest.n_layers):
            if layer == self._split:
                pooled = _mean(x[0], lengths, int(prefix.length == 0))
            shared = prefix.layer(layer)
            x, k, v = self._prompt(layer, x, shared)
            keys.append(k)
            values.append(v)
            if layer < self._split:
                hidden = self._layer(layer, hidden, shared, (keys[-1], values[-1]), lengths)[0]
        return Prefilled(hidden[0], np.stack(keys), np.stack(values), pooled)

    def probe(self, context: Context, adapter: Floats, targets: Ints, weights: Floats) -> Floats:
        """See `Engine`."""
        losses = np.zeros((context.lanes(adapter), len(targets)), dtype=np.float32)
        asked = np.argwhere(weights != 0)  # (example, row): only these need logits
        for lanes, some in self._parts(context.hidden.shape, len(losses)):
            x = self._adapted(context.some(some), _own(context, adapter, lanes, some))
            for example, row in asked[(asked[:, 0] >= some.start) & (asked[:, 0] < some.stop)]:
                logits = self._logits(x[:, example - some.start, row])  # (lanes, V)
                nats = _log_sum_exp(logits) - logits[:, targets[example, row]]
                losses[lanes, example] += weights[example, row] * nats
        return losses

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        """See `Engine`."""
        shape = context.lanes(adapter), len(context.lengths), len(candidates)
        log_probs = np.empty(shape, dtype=np.float32)
        for lanes, some in self._parts(context.hidden.shape, len(log_probs)):
            x = self._adapted(context.some(some), _own(context, adapter, lanes, some))
            logits = self._ends.candidate_logits(x[:, :, -1], candidates)
            log_probs[lanes, some] = logits - _log_sum_exp(logits)[..., None]
        return log_probs

    def pull_losses(
        self, context: Context, adapter: Floats, targets: Ints, weights: Floats, pull: Floats
    ) -> Floats:
        """See `Engine`."""
        raise EngineError(NO_GRADIENTS)

    def pull_choices(
        self, context: Context, adapter: Floats, candidates: Ints, pull: Floats
    ) -> Floats:
        """See `Engine`."""
        raise EngineError(NO_GRADIENTS)

    def decode(
        self,
        tokens: Ints,
        prefix: Prefix,
        keys: Halves,
        values: Halves,
        lengths: Ints,
        adapter: Floats,
        route: Route | None = None,
    ) -> Decoded:
        """See `Engine`."""
        x = self._ends.embed(tokens)[None]
        slots = np.split(adapter, self.bundle.manifest.n_layers - self._split, 1)
        new_keys, new_values = [], []
        for layer in range(self.bundle.manifest.n_layers):
            own = slots[layer - self._split] if layer >= self._split else None
            shared, cached = prefix.layer(layer), (keys[layer], values[layer])
            x, k, v = self._layer(layer, x, shared, cached, lengths, own, route)
            new_keys.append(_cache(k))
            new_values.append(_cache(v))
        return Decoded(self._logits(x[0, :, -1]), np.stack(new_keys), np.stack(new_values))

    def release(self, *methods: str) -> None:
        """See `Engine`. Layers below the split serve prefill and decode alone."""
        if "prefill" in methods:
            for layer in [layer for layer in self._programs if layer < self._split]:
                del self._programs[layer]
        if {"probe", "choose"} <= set(methods):
            self._programs.clear()
            self._head = None
        release_freed()

    def keep_within(self, mb: float | None) -> None:
        """See `Engine`. At least one layer is kept."""
        layer, head = self._held_mb()
        fits = self._most if mb is None else int((mb - head) / layer)
        self._kept = max(1, min(self._most, fits))
        while len(self._programs) > self._kept:
            self._programs.popitem()
        self.loaded_mb = self._kept * layer + head
        self.from_storage = self.bundle.manifest.n_layers - self._kept

    def _held_mb(self) -> tuple[float, float]:
        """A layer as mapped, as packed and with the memory planned for its rows; the head."""
        files, wide = self.bundle.manifest.files, self._geometry
        layer = max(files[layer.data].bytes for layer in self.info.layers)
        planned = 4 * self.info.rows * (4 * int(wide["ffn_width"]) + 2 * int(wide["width"]))
        return 1e-6 * (2.2 * layer + planned), 2.2e-6 * files[self.info.head.data].bytes

    def _prompt(
        self, layer: int, x: Floats, shared: tuple[Halves, Halves]
    ) -> tuple[Floats, Halves, Halves]:
        """One layer over whole prompts x (1, B, P, D), as many tokens at a time as rows allow.

        Padding comes after a prompt's own tokens, so none of them ever looks at it.
        """
        batch, length = x.shape[1:3]
        keys, values = self._no_cache(batch)
        outputs = [x[:, :, :0]]
        size = max(1, self.info.rows // max(batch, 1))
        for start in range(0, length, size):
            done = np.full(batch, start)
            y, k, v = self._layer(
                layer, x[:, :, start : start + size], shared, (keys, values), done
            )
            outputs.append(y)
            keys = np.concatenate([keys, _cache(k)], 2)
            values = np.concatenate([values, _cache(v)], 2)
        return np.concatenate(outputs, 2), keys, values

    def _adapted(self, context: Context, adapter: Floats) -> Floats:
        """The adapted layers over a context's rows: (L, B, R, D)."""
        x = np.broadcast_to(context.hidden, (context.lanes(adapter), *context.hidden.shape))
        for index, slots in enumerate(np.split(adapter, len(context.keys), 1)):
            cached = context.keys[index], context.values[index]
            shared = context.prefix.layer(index)
            given = self._split + index, x, shared, cached, context.lengths, slots
            x, _, _ = self._layer(*given, context.route)
        return x

    def _layer(
        self,
        layer: int,
        x: Floats,
        prefix: tuple[Halves, Halves],
        cached: tuple[Halves, Halves],
        lengths: Ints,
        slots: Floats | None = None,
        route: Route | None = None,
    ) -> tuple[Floats, Floats, Floats]:
        """One layer over x (L, B, T, D) → x, and the new keys and values (L, B, T, kv, d).

        slots: (L, n_layer) of the adapter, or (L · B, n_layer), each example's own; None for none.
        route: of its blocks.
        """
        lanes, batch, new, width = x.shape
        positions = prefix[0].shape[2] + lengths[:, None] + np.arange(new)
        given: list[NDArray[Any]] = [
            x.reshape(-1, width),
            *self._ends.angles(layer, positions),
            *prefix,
            *cached,
            lengths,
            *self._blocks.route(batch, route),
            np.ones((batch, new), dtype=np.bool_),
            *self._blocks.of_layer(layer, slots, lanes),
        ]
        y, keys, values = self._bindings.run(self._program(layer), given, f"layer {layer}")
        heads = (lanes, batch, new, *keys.shape[1:])
        return y.reshape(x.shape), keys.reshape(heads), values.reshape(heads)

    def _program(self, layer: int) -> Any:
        """The program of a layer, loaded when first needed, the last one loaded making room.

        Layers run in turn: giving up the longest unused one would give up each before it is needed.
        """
        if layer not in self._programs:
            while len(self._programs) >= self._kept:
                self._programs.popitem()
            self._programs[layer] = self._load(self.info.layers[layer])
        return self._programs[layer]

    def _load(self, entry: ProgramInfo) -> Any:
        return self._bindings.load(self.bundle.path / entry.program, self.bundle.path / entry.data)

    def _logits(self, x: Floats) -> Floats:
        """Logits (rows, V) of hidden states (rows, D)."""
        if self._head is None:
            self._head = self._load(self.info.head)
        most = self.info.head_rows
        parts = [np.ascontiguousarray(x[i : i + most]) for i in range(0, len(x), most)]
        return np.concatenate([self._bindings.run(self._head, [part], "head")[0] for part in parts])

    def _parts(self, shape: Sequence[int], lanes: int) -> list[tuple[slice, slice]]:
        """Lanes and examples cut so that the rows of each part fit the programs' bound."""
        batch, new, _ = shape
        some = max(1, min(batch, self.info.rows // max(new, 1)))
        most = max(1, min(lanes, self.info.rows // max(some * new, 1)))
        return [
            (slice(a, min(a + most, lanes)), slice(b, min(b + some, batch)))
            for a in range(0, lanes, most)
            for b in range(0, batch, some)
        ]

    def _no_cache(self, batch: int) -> tuple[Halves, Halves]:
        shape = batch, self._geometry["n_kv_heads"], 0, self._geometry["head_dim"]
        empty: Halves = np.empty(shape, dtype=np.float16)
        return empty, empty


def _own(context: Context, adapter: Floats, lanes: slice, some: slice) -> Floats:
    """The adapters of some lanes and, where each example has its own, of some examples."""
    if not context.each:
        return adapter[lanes]
    both = adapter.reshape(-1, len(context.lengths), adapter.shape[1])[lanes, some]
    return both.reshape(-1, adapter.shape[1])


def _cache(states: Floats) -> Halves:
    """Keys or values (1, B, T, kv, d) as they are kept: (B, kv, T, d), float16."""
    kept: Halves = states[0].transpose(0, 2, 1, 3).astype(np.float16)
    return kept


def _mean(x: Floats, lengths: Ints, first: int) -> Floats:
    """Mean of x (B, P, D) over the valid tokens of each row, from token `first` on."""
    position = np.arange(x.shape[1])
    valid = (position >= first) & (position < lengths[:, None])
    total = np.where(valid[..., None], x, 0).sum(1)
    mean: Floats = (total / np.maximum(lengths - first, 1)[:, None]).astype(np.float32)
    return mean


def _log_sum_exp(logits: Floats) -> Floats:
    """Over the last axis, in float64: single precision differs between libraries."""
    exact = logits.astype(np.float64)
    highest = exact.max(-1)
    total = np.log(np.exp(exact - highest[..., None]).sum(-1)) + highest
    return np.asarray(total, dtype=np.float32)
