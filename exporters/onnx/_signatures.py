"""Shapes of what flows between parts, and of the methods' inputs and outputs.

One letter an axis: L lanes, B examples, E adapters (L, or L · B where each example has its own), X
prefix, P prompt, R response, T new tokens, U rows that ask, C candidates, J chosen blocks, N layers
in a cache, A adapted layers, S = P + R, K = X + P + T keys that a row may see; everything else is a
fixed number of the model. After a colon, the dtype if not float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsa_edge.exporters.decoder import DecoderSpec

__all__ = ["METHOD_OUTPUTS", "example_values", "fixed_axes", "method_inputs"]

_WHOLE = {"i8": torch.int64, "b": torch.bool}
_DYNAMIC = tuple("LBXPRTUSKCNJ")

_PREFIX = ("1 kv X d:f2", "1 kv X d:f2")
_CACHE = ("B kv P d:f2", "B kv P d:f2")
_ALL = (
    "N 1 kv X d:f2", "N 1 kv X d:f2", "N B kv P d:f2", "N B kv P d:f2", "B:i8", ":i8",
)  # fmt: skip
_ROUTE = ("B J:i8", "B J")  # in place of "route", where there are several blocks
_PARTS: dict[str, tuple[str, ...]] = {
    "prefill_inputs": ("B P:i8", "B R:i8", "B:i8", "N 1 kv X d:f2"),
    "grouped_inputs": ("1 S:i8", "1:i8", "1:i8", "N 1 kv X d:f2"),
    "prefill_split": ("1 B S D", "B P:i8", "B:i8", "N 1 kv X d:f2", "frames S K"),
    "trim": ("B kv S d", "B P:i8"),
    "response_inputs": ("B R D", "B:i8", "N 1 kv X d:f2", "N B kv P d:f2", "L"),
    "decode_inputs": ("B T:i8", "B:i8", "N 1 kv X d:f2"),
    "decode_layer": ("1 B T D", "B T rot", "B T rot", *_ALL),
    "decode_layer_adapted": ("1 B T D", "B T rot", "B T rot", *_ALL, "L m", *_ROUTE, "B T:b"),
    "asking": ("L B T D", "frame T K"),
    "loss_head": ("L B U D", "B R:i8", "B R"),
    "choice_head": ("L B U D", "C:i8"),
    "token_head": ("1 B T D",),
    "layer": ("1 B S D", "frame S K", *_PREFIX),
    "layer_grouped": ("1 1 S D", "1 S rot", "1 S rot", "2 1 S K", *_PREFIX),
    "layer_keys": ("1 B S D", "B S rot", "B S rot"),
    "layer_adapted": ("L B T D", "frame T K", *_PREFIX, *_CACHE, "L m", "route"),
    "layer_back": ("L B T D", "frame T K", *_PREFIX, *_CACHE, "L m", "route", "L B T D"),
    "loss_back": ("L B U D", "B R:i8", "B R", "L B"),
    "choice_back": ("L B U D", "C:i8", "L B C"),
    "layer_last": (
        "L B T D", "B T rot", "B T rot", "L B U D", "B U rot", "B U rot", "B U K",
        *_PREFIX, *_CACHE, "L m", "route",
    ),
}  # fmt: skip

_CONTEXT = {
    "hidden": "B R D", "prefix_keys": "A 1 kv X d:f2", "prefix_values": "A 1 kv X d:f2",
    "keys": "A B kv P d:f2", "values": "A B kv P d:f2", "lengths": "B:i8", "lanes": "L",
    "adapter": "E n",
}  # fmt: skip
_METHOD_INPUTS = {
    "prefill": {
        "prompt": "B P:i8", "response": "B R:i8", "lengths": "B:i8",
        "prefix_keys": "N 1 kv X d:f2", "prefix_values": "N 1 kv X d:f2",
    },
    "prefill_grouped": {
        "prompt": "1 P:i8", "start": "1:i8", "group": "1:i8",
        "prefix_keys": "N 1 kv X d:f2", "prefix_values": "N 1 kv X d:f2",
    },
    "probe": {**_CONTEXT, "targets": "B R:i8", "weights": "B R"},
    "choose": {**_CONTEXT, "candidates": "C:i8"},
    "pull_losses": {**_CONTEXT, "targets": "B R:i8", "weights": "B R", "pull": "L B"},
    "pull_choices": {**_CONTEXT, "candidates": "C:i8", "pull": "L B C"},
    "decode": {
        "tokens": "B T:i8", "prefix_keys": "N 1 kv X d:f2", "prefix_values": "N 1 kv X d:f2",
        "keys": "N B kv P d:f2", "values": "N B kv P d:f2", "lengths": "B:i8", "adapter": "E n",
    },
}  # fmt: skip

METHOD_OUTPUTS = {
    "prefill": {
        "hidden": "B R D", "keys": "N B kv P d:f2", "values": "N B kv P d:f2", "pooled": "B D"
    },
    "prefill_grouped": {
        "hidden": "1 P D", "keys": "N 1 kv P d:f2", "values": "N 1 kv P d:f2"
    },
    "probe": {"losses": "L B"},
    "choose": {"log_probs": "L B C"},
    "pull_losses": {"gradient": "E n"},
    "pull_choices": {"gradient": "E n"},
    "decode": {"logits": "B V", "new_keys": "N B kv T d:f2", "new_values": "N B kv T d:f2"},
}  # fmt: skip


def method_inputs(method: str, gated: bool) -> dict[str, str]:
    """A method's inputs; gated: the adapter has several blocks."""
    inputs = _METHOD_INPUTS[method]
    routed = dict(zip(("route_index", "route_weight"), _ROUTE, strict=True))
    return {**inputs, **(routed if gated and "adapter" in inputs else {})}


def fixed_axes(spec: DecoderSpec, adapter_size: int, split: int) -> dict[str, int]:
    """Sizes of the axes that one model fixes."""
    return {
        "D": spec.width,
        "kv": spec.n_kv_heads,
        "d": spec.head_dim,
        "rot": round(spec.head_dim * spec.rope.fraction),
        "V": spec.vocab_size,
        "n": adapter_size,
        "m": adapter_size // (spec.n_layers - split),
        "A": spec.n_layers - split,
        "1": 1,
        "2": 2,
    }


def example_values(
    part: str, fixed: dict[str, int], n_frames: int, invocation: int, gated: bool = False
) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """Values to trace a part on, and which of their axes are dynamic."""
    shapes: list[str] = []
    for text in _PARTS[part]:
        if text == "route":
            shapes.extend(_ROUTE if gated else ())
        else:
            shapes.extend(_frames(text, n_frames) if text.startswith("frame") else [text])
    sizes = fixed | _traced_sizes(invocation)
    values = tuple(_value(text, sizes) for text in shapes)
    dynamic = tuple(
        {i: torch.export.Dim.DYNAMIC for i, axis in enumerate(_axes(text)) if axis in _DYNAMIC}
        for text in shapes
    )
    return values, dynamic


def _traced_sizes(invocation: int) -> dict[str, int]:
    """Sizes while tracing: consistent, and above 1, which torch.export takes for a constant."""
    prefix, prompt, asking = 4, 5, 4
    response = asking + invocation - 1
    own = prompt + response
    return {
        "L": 2, "B": 3, "X": prefix, "P": prompt, "R": response, "T": response, "U": asking,
        "S": own, "K": prefix + own, "C": 7, "N": 2, "J": 6,
    }  # fmt: skip


def _frames(text: str, n_frames: int) -> list[str]:
    word, rows, keys = text.split()
    frame = [f"B {rows} rot", f"B {rows} rot", f"B {rows} {keys}"]
    return frame * (n_frames if word == "frames" else 1)


def _axes(text: str) -> list[str]:
    return text.split(":")[0].split()


def _value(text: str, sizes: dict[str, int]) -> Tensor:
    shape = [sizes[axis] for axis in _axes(text)]
    kind = text.partition(":")[2]
    if kind in _WHOLE:
        return torch.ones(shape, dtype=_WHOLE[kind])
    return torch.rand(shape).to(torch.float16 if kind == "f2" else torch.float32)
