"""An engine that runs a bundle's torch model, on the CPU or a GPU, so that the runtime runs there.

`Personalizer`, trainer and journal stay as they are: only the four methods are torch's, in float32,
over weights that were de-quantized once. The bundle's own adapter, or one of any other kind, is put
on the same weights in memory: no export is needed to try a kind.

Activations may be rounded to int8 in front of every linear, as the engines' 4-bit kernels do, since
it changes which perturbations are best: in groups of 32 (ONNX Runtime) or by row (XNNPACK).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _cuda_rounding import rounded_groups
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.exporters._reload import _BundleWeights
from dsa_edge.exporters.decoder import Decoder, Embedding, Linear, build_decoder
from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import AdaptedModel, TorchCaller
from dsa_edge.gate import Route
from dsa_edge.kernels import torch_cuda  # noqa: F401  registers the operators
from dsa_edge.runtime._engine import Context, Decoded, Floats, Halves, Ints, Prefilled, Prefix

__all__ = ["ACTIVATIONS", "Replayed", "TorchEngine", "adapted", "dense_decoder"]

ACTIVATIONS = ("float32", "group", "row")  # what the inputs of linears are rounded to
ADAPTER = 6  # its place among what probes take, after a context
GROUP = 32  # inputs that share a scale, as in ONNX Runtime's MatMulNBits at accuracy level 4


class _Rounding:
    """Inputs of linears to int8 and back; several linears of a layer read the same input."""

    def __init__(self, activations: str) -> None:
        self._activations = activations
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Round x (…, n_in); gradients pass as if nothing had been rounded."""
        if self._activations == "float32":
            return x
        if self._last is None or self._last[0] is not x:
            self._last = x, self._rounded(x)
        return self._last[1]

    def _rounded(self, x: Tensor) -> Tensor:
        whole = x.detach()
        if self._activations == "group" and x.is_cuda:
            near = rounded_groups(whole.contiguous())
        else:
            near = _rounded(whole, x.shape[-1] if self._activations == "row" else GROUP)
        return x + (near - whole) if x.requires_grad else near


def _rounded(x: Tensor, group: int) -> Tensor:
    """x (…, n) in int8 and back, with one scale for each `group` numbers."""
    parts = x.unflatten(-1, (-1, group))
    scale = parts.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return ((parts / scale).round() * scale).reshape(x.shape)


class _Dense(Linear):
    """A linear with plain weights (n_out, n_in) whose input is rounded."""

    def __init__(self, linear: Linear, rounding: _Rounding) -> None:
        super().__init__(linear.dense(), linear.bias)
        self._rounding = rounding

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(self._rounding(x), self.weight, self.bias)


class _DenseTable(Embedding):
    """An embedding, or head, with plain weights (n_rows, width)."""

    def __init__(self, table: Embedding, rounding: _Rounding) -> None:
        super().__init__(table.dense())
        self._rounding = rounding

    def project(self, x: Tensor) -> Tensor:
        return self._rounding(x) @ self.weight.T


def dense_decoder(bundle: Bundle, activations: str = "float32") -> Decoder:
    """The bundle's base with float32 weights, on the CPU; its linears stay in their places."""
    decoder = build_decoder(_BundleWeights(bundle), "int4")
    rounding = _Rounding(activations)
    for index in range(decoder.spec.n_layers):
        linears = decoder.layer(index).linears
        for target, linear in linears.items():
            linears[target] = _Dense(linear, rounding)
    tied = decoder.top.table is decoder.embedding
    decoder.embedding = _DenseTable(decoder.embedding, rounding)
    decoder.top.table = decoder.embedding if tied else _DenseTable(decoder.top.table, rounding)
    return decoder.eval()


def adapted(
    bundle: Bundle, spec: AdapterSpec, decoder: Decoder, folder: Path | None = None
) -> tuple[Bundle, AdaptedModel, Floats]:
    """A bundle as if it had been exported with `spec`, its torch model, and where training starts.

    decoder: of `dense_decoder`, on any device, shared by all specs. folder: where frozen buffers
    are kept between processes, for singular directions take a while.
    """
    made = replace(bundle, manifest=replace(bundle.manifest, adapter=spec))
    spec.check(decoder.spec.geometry)
    model, device = AdaptedModel(decoder, spec), decoder.top.norm.gain.device
    kept = folder and folder / f"frozen-{_digest(made)}.pt"
    if spec == bundle.manifest.adapter:
        weights = _BundleWeights(bundle)
        for layer in range(model.split, decoder.spec.n_layers):
            model.set_blocks(layer, {point: weights.frozen(layer, point) for point in spec.points})
    elif kept is not None and kept.is_file():
        model.blocks = torch.load(kept, weights_only=False, map_location="cpu")
    else:
        for layer in range(model.split, decoder.spec.n_layers):
            model.add_blocks(layer)
        model.blocks.cpu()
        if kept is not None:
            partial = kept.with_suffix(f".{os.getpid()}")
            torch.save(model.blocks, partial)
            partial.rename(kept)
    start = model.start().numpy()  # on the CPU still: the same numbers wherever it then runs
    model.blocks.to(device).float()  # as the kernels widen it, once
    return made, model.eval(), start


def _digest(bundle: Bundle) -> str:
    what = [bundle.manifest.base.sha256, asdict(bundle.manifest.adapter)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


class TorchEngine:
    """See `Engine`; `bundle`, `model` and `start` (n,) come from `adapted`.

    A context may hold arrays, or tensors on the device (`_sweeper.DevicePrompts`).
    """

    name, kernels, loaded_mb, from_storage, gradients = "torch", "torch", 0.0, 0, True
    mixes = False
    grouped = True

    def __init__(self, bundle: Bundle, model: AdaptedModel, start: Floats) -> None:
        self.bundle, self.model, self.start = bundle, model, start
        spec = model.decoder.spec
        self.device = model.decoder.top.norm.gain.device
        self._chains: Chains[Tensor] = Chains(
            TorchCaller(model), spec.n_layers, model.split, model.adapter.invocation,
            tuple(spec.frame_of(i) for i in range(spec.n_layers)),
        )  # fmt: skip
        graphs = self.device.type == "cuda"
        self._losses = Replayed(self.losses) if graphs else self.losses
        self._log_probs = Replayed(self.log_probs) if graphs else self.log_probs
        self._pulled = {
            method: Replayed(pulled) if graphs else pulled
            for method, pulled in ((m, _gradient_of(m)) for m in (self.losses, self.log_probs))
        }

    @torch.inference_mode()
    def prefill(self, prefix: Prefix, prompt: Ints, response: Ints, lengths: Ints) -> Prefilled:
        with self.device:
            given = self.tensors(prompt, response, lengths, prefix.keys, prefix.values)
            return Prefilled(**_arrays(self._chains.prefill(*given)))

    @torch.inference_mode()
    def prefill_grouped(self, prefix: Prefix, start: int, prompt: Ints, group: int) -> Prefilled:
        with self.device:
            numbers = torch.tensor([start]), torch.tensor([group])
            given = self.tensors(prompt, *numbers, prefix.keys, prefix.values)
            return Prefilled(**_arrays(self._chains.prefill_grouped(*given)))

    @torch.inference_mode()
    def probe(self, context: Context, adapter: Floats, targets: Ints, weights: Floats) -> Floats:
        given = self.tensors(adapter, *_wide(context, targets, weights), *self.routes(context))
        return _array(self._losses(*self.context(context), *given))

    @torch.inference_mode()
    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        given = self.tensors(adapter, candidates, *self.routes(context))
        return _array(self._log_probs(*self.context(context), *given))

    def pull_losses(
        self, context: Context, adapter: Floats, targets: Ints, weights: Floats, pull: Floats
    ) -> Floats:
        wide = _wide(context, targets, weights)
        given = self.tensors(adapter, *wide, *self.routes(context), pull)
        return _array(self._pulled[self.losses](*self.context(context), *given))

    def pull_choices(
        self, context: Context, adapter: Floats, candidates: Ints, pull: Floats
    ) -> Floats:
        given = self.tensors(adapter, candidates, *self.routes(context), pull)
        return _array(self._pulled[self.log_probs](*self.context(context), *given))

    @torch.inference_mode()
    def decode(
        self, tokens: Ints, prefix: Prefix, keys: Halves, values: Halves, lengths: Ints,
        adapter: Floats, route: Route | None = None,
    ) -> Decoded:  # fmt: skip
        with self.device:
            caches = prefix.keys, prefix.values, keys, values
            routed = self.routed(route, len(tokens))
            given = self.tensors(tokens, *caches, lengths, adapter, *routed)
            return Decoded(**_arrays(self._chains.decode(*given)))

    def release(self, *methods: str) -> None:
        """The model is shared by all methods."""

    def keep_within(self, mb: float | None) -> None:
        """The model is held whole."""

    def losses(self, *given: Tensor) -> Tensor:
        """`probe` on tensors: a context, adapter (L, n), targets, weights, routes → (L, B)."""
        with self.device:
            return self._chains.probe(*_with_lanes(given))["losses"]

    def log_probs(self, *given: Tensor) -> Tensor:
        """`choose` on tensors: a context, adapter (L, n), candidates, routes → (L, B, C)."""
        with self.device:
            return self._chains.choose(*_with_lanes(given))["log_probs"]

    def routes(self, context: Context) -> tuple[Any, ...]:
        """A context's routes as the methods take them, none where there is one block."""
        return self.routed(context.route, len(context.lengths))

    def routed(self, route: Route | None, batch: int) -> tuple[Any, ...]:
        """Index and weight (B, K) of each example's blocks."""
        spec = self.model.adapter
        if spec.blocks == 1:
            return ()
        given = route or Route.first(batch, spec.active)
        return given.index, given.weight

    def context(self, context: Context) -> list[Tensor]:
        """A batch of cached prompts as `probe` and `choose` take it."""
        prefix = context.prefix
        return self.tensors(
            context.hidden, prefix.keys, prefix.values, context.keys, context.values,
            context.lengths,
        )  # fmt: skip

    def tensors(self, *arrays: Any) -> list[Tensor]:
        """Arrays, or tensors, on the device."""
        return [torch.as_tensor(array, device=self.device) for array in arrays]


class Replayed:
    """A function of tensors as CUDA graphs, one for each set of shapes that comes often.

    A probe is over a thousand small kernels, whose launches take longer than they do.
    """

    OFTEN = 3  # times that shapes are seen before a graph is worth its making

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._pool: Any = None
        self._seen: dict[tuple[torch.Size, ...], int] = {}
        self._graphs: dict[tuple[torch.Size, ...], tuple[Any, list[Tensor], Tensor]] = {}

    def __call__(self, *given: Tensor) -> Tensor:
        """What the function gives; the next call may overwrite it."""
        key = tuple(tensor.shape for tensor in given)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] <= self.OFTEN:
            return self._function(*given)
        if key not in self._graphs:
            self._graphs[key] = self._captured(given)
        graph, inputs, output = self._graphs[key]
        for kept, new in zip(inputs, given, strict=True):
            kept.copy_(new)
        graph.replay()
        return output

    def _captured(self, given: tuple[Tensor, ...]) -> tuple[Any, list[Tensor], Tensor]:
        inputs, graph = [tensor.clone() for tensor in given], torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._function(*inputs)
        self._pool = graph.pool()  # graphs share their memory, for none runs beside another
        return graph, inputs, output


def _with_lanes(given: Sequence[Tensor]) -> list[Tensor]:
    """What a method takes: one number a lane, which says how many there are, before the adapter."""
    return [*given[:ADAPTER], given[ADAPTER][:, 0], *given[ADAPTER:]]


def _gradient_of(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of a method on tensors: what it takes, and pull → the gradient (L, n) of Σ pull · result."""

    def pulled(*given: Tensor) -> Tensor:
        *context, pull = given
        vector = context[ADAPTER] = context[ADAPTER].detach().requires_grad_()
        return torch.autograd.grad((method(*context) * pull).sum(), vector)[0]

    return pulled


def _wide(context: Context, targets: Ints, weights: Floats) -> tuple[Ints, Floats]:
    """Targets and weights (B, R) as wide as the context's rows, with zeros behind."""
    missing = context.hidden.shape[1] - targets.shape[1]
    return np.pad(targets, ((0, 0), (0, missing))), np.pad(weights, ((0, 0), (0, missing)))


def _array(value: Any) -> Any:
    return value.cpu().numpy()


def _arrays(values: dict[str, Tensor]) -> dict[str, Any]:
    return {name: _array(value) for name, value in values.items()}
