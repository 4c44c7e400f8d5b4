"""Which columns are weak (QEFT, 2410.08661): those whose rounding the outputs feel most.

    s_j = λ_j ‖W_j − Q(W)_j‖²        λ = diag(2 X Xᵀ)

One set of residual channels serves all q, k, v, gate and up, by the sum of their sensitivities;
each feed-forward has its own set of neurons, the inputs of `down`. The inputs of `o` are heads: its
weak columns would be scattered over them, so it has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.decoder import QuantizedWeight, Stored, WeightSource, build_layer, quantize
from dsa_edge.exporters.quantization._gptq import BITS
from dsa_edge.exporters.quantization._observe import Moments, Stream
from dsa_edge.exporters.quantization._order import READERS, Orders, swapped
from dsa_edge.kernels.quantized_linear import GROUP

__all__ = ["weak_orders"]


def weak_orders(
    source: WeightSource, rows: Tensor, weak: int, on_part: Callable[[str], object]
) -> Orders:
    """The order that has the `weak` most sensitive channels, and neurons, last.

    rows: token ids (rows, T) of the calibration texts.
    """
    spec = source.spec
    stream = Stream(source, rows)
    channels = np.zeros(spec.width)
    neurons = []
    for index in range(spec.n_layers):
        on_part(f"sensitivity of layer {index + 1} of {spec.n_layers}")
        layer, moments = build_layer(source, index, "none"), Moments(diagonal=True)
        stream.watch(index, layer, moments)
        stream.advance(index, layer)
        for target in READERS:
            channels += _sensitivity(source, index, target, moments)
        neurons.append(swapped(_sensitivity(source, index, "down", moments), weak))
    return Orders(swapped(channels, weak), tuple(neurons), weak)


def _sensitivity(
    source: WeightSource, index: int, target: str, moments: Moments
) -> NDArray[np.float64]:
    """s (n_in,) of one linear."""
    error = _rounding(source.weight(f"layers.{index}.{target}"))
    return moments.of(target).numpy() * error


def _rounding(weight: Stored) -> NDArray[np.float64]:
    """‖W_j − Q(W)_j‖² of every column (n_in,).

    What the rounding of stored bits has cost nobody knows: a step's mean square stands for it.
    """
    if isinstance(weight, QuantizedWeight):
        steps = np.square(weight.scales.astype(np.float64)).sum(0) / 12
        return np.repeat(steps, GROUP)
    error = weight - quantize(weight, BITS).dense()
    return np.square(error, dtype=np.float64).sum(0)
