"""Checkpoint → decoder, tensor by tensor, so that the float model is never whole in memory."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.errors import UsageError
from dsa_edge.exporters.decoder._decoder import Decoder
from dsa_edge.exporters.decoder._layer import Layer
from dsa_edge.exporters.decoder._linear import Embedding, Linear
from dsa_edge.exporters.decoder._spec import DecoderSpec
from dsa_edge.exporters.decoder._weight import QuantizedWeight, quantize
from dsa_edge.kernels.quantized_linear import pack_codes, unpack_codes
from dsa_edge.kinds import TARGETS

__all__ = ["QUANTIZATIONS", "Stored", "WeightSource", "build_decoder", "build_layer", "build_table"]

QUANTIZATIONS = ("int4", "int8", "none")
NORMS = ("attention", "mlp", "q", "k", "attention_out", "mlp_out")

Stored = QuantizedWeight | NDArray[np.float32]


class WeightSource(Protocol):
    """Anything that holds a model's tensors under their canonical names: a checkpoint, a bundle."""

    spec: DecoderSpec

    def has(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        ...

    def weight(self, name: str) -> Stored:
        """One tensor."""
        ...


def build_decoder(checkpoint: WeightSource, quantization: str) -> Decoder:
    """Build the torch decoder of a checkpoint.

    quantization: bits of the linears: `int4` (affine), `int8` (symmetric), or `none` for float32
        everywhere. Embedding and untied head are 8-bit, because rounding errors there reach every
        token. Linears that the checkpoint stores in 4 or 8 bits keep those bits.
    Raises UsageError for another name, ExportError when a weight cannot be quantized.
    """
    if quantization not in QUANTIZATIONS:
        raise UsageError(
            f"quantization {quantization!r} is unknown: use one of {', '.join(QUANTIZATIONS)}."
        )
    table = build_table(checkpoint, "embedding", quantization)
    own_head = checkpoint.has("head")
    head = Embedding(build_table(checkpoint, "head", quantization)) if own_head else None
    layers = [build_layer(checkpoint, i, quantization) for i in range(checkpoint.spec.n_layers)]
    final = _vector(checkpoint, "final_norm")
    return Decoder(checkpoint.spec, Embedding(table), layers, final, head)


def build_layer(checkpoint: WeightSource, index: int, quantization: str) -> Layer:
    """One layer alone; `quantization` as in `build_decoder`."""
    prefix = f"layers.{index}"
    linears = {t: _linear(checkpoint, f"{prefix}.{t}", quantization) for t in TARGETS}
    names = {norm: f"{prefix}.norms.{norm}" for norm in NORMS}
    gains = {n: _vector(checkpoint, name) for n, name in names.items() if checkpoint.has(name)}
    return Layer(checkpoint.spec, linears, gains)


def _linear(checkpoint: WeightSource, name: str, quantization: str) -> Linear:
    bias = _vector(checkpoint, f"{name}.bias") if checkpoint.has(f"{name}.bias") else None
    weight = checkpoint.weight(name)
    if quantization == "none":
        return Linear(_dense(weight), bias)
    if not isinstance(weight, QuantizedWeight):
        return Linear(quantize(weight, int(quantization.removeprefix("int")), name), bias)
    # Stored bits stay, 4-bit ones under int8 as well: re-rounding them to 8 bits would double
    # their size and add an error of its own, and could not bring back what 4 bits lost.
    return Linear(weight, bias)


def build_table(
    checkpoint: WeightSource, name: str, quantization: str = "int8"
) -> QuantizedWeight | Tensor:
    """Embedding or head: symmetric 8-bit, the only format whose rows can be looked up."""
    weight = checkpoint.weight(name)
    if quantization == "none":
        return _dense(weight)
    if not isinstance(weight, QuantizedWeight):
        return quantize(weight, 8, name)
    if weight.minimum is not None:
        return quantize(weight.dense(), 8, name)
    return weight if weight.bits == 8 else _widen(weight)


def _widen(weight: QuantizedWeight) -> QuantizedWeight:
    """Symmetric 4-bit codes as 8-bit codes of the same scale: not a single weight changes."""
    codes = unpack_codes(weight.codes, 4) + np.uint8(128 - 8)
    return QuantizedWeight(8, pack_codes(codes, 8), weight.scales)


def _vector(checkpoint: WeightSource, name: str) -> Tensor:
    return _dense(checkpoint.weight(name))


def _dense(weight: Stored) -> Tensor:
    return torch.from_numpy(weight.dense() if isinstance(weight, QuantizedWeight) else weight)
