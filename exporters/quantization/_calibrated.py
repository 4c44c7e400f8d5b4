"""All linears of a model in 4 bits, layer by layer from the bottom.

Each layer is measured on what the quantized layers below it give, so that it makes up for them too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.decoder import (
    DecoderSpec,
    QuantizedWeight,
    Stored,
    WeightSource,
    build_layer,
    quantize,
)
from dsa_edge.exporters.quantization._gptq import BITS, gptq, output_error
from dsa_edge.exporters.quantization._observe import Moments, Stream
from dsa_edge.kinds import TARGETS

__all__ = ["Linears", "calibrated", "with_columns"]


class Linears:
    """A source of weights whose linears are in their final bits.

    kept: how many of them the checkpoint stored in those bits.
    """

    def __init__(self, source: WeightSource) -> None:
        self.spec: DecoderSpec = source.spec
        self.kept = 0
        self._source = source
        self._made: dict[str, QuantizedWeight] = {}
        self._errors: list[tuple[float, float]] = []

    def has(self, name: str) -> bool:
        """As the source has it."""
        return self._source.has(name)

    def weight(self, name: str) -> Stored:
        """One tensor."""
        return self._made[name] if name in self._made else self._source.weight(name)

    def put(self, name: str, weight: QuantizedWeight) -> None:
        """Use these bits for a linear."""
        self._made[name] = weight

    def measure(
        self, weight: NDArray[np.float32], made: QuantizedWeight, plain: QuantizedWeight, h: Tensor
    ) -> None:
        """Note what a linear's outputs lose, and would lose by plain rounding."""
        energy = output_error(weight, h) or 1.0
        own, nearest = (output_error(weight - w.dense(), h) / energy for w in (made, plain))
        self._errors.append((own, nearest))

    @property
    def errors(self) -> tuple[float | None, float | None]:
        """Share of a linear's output energy that is lost, and by plain rounding: means of all."""
        if not self._errors:
            return None, None
        own, plain = zip(*self._errors, strict=True)
        return float(np.mean(own)), float(np.mean(plain))


def calibrated(
    source: WeightSource, rows: Tensor, weak: int, on_part: Callable[[str], object]
) -> Linears:
    """Round the linears of a source by GPTQ; those that it stores in few bits stay as they are.

    rows: token ids (rows, T). weak: last columns of all linears but `o` that become float16.
    """
    made, depth = Linears(source), source.spec.n_layers
    stream = Stream(source, rows) if _any_float(source) else None
    for index in range(depth):
        on_part(f"gptq of layer {index + 1} of {depth}")
        if stream is None:
            _layer(made, source, index, None, weak)
            continue
        moments = Moments()
        stream.watch(index, build_layer(source, index, "none"), moments)
        _layer(made, source, index, moments, weak)
        if index + 1 < depth:
            stream.advance(index, build_layer(made, index, "int4"))
    return made


def with_columns(source: WeightSource, weak: int) -> Linears:
    """Round the linears of a source to the nearest, weak columns apart."""
    made = Linears(source)
    for index in range(source.spec.n_layers):
        _layer(made, source, index, None, weak)
    return made


def _layer(
    made: Linears, source: WeightSource, index: int, moments: Moments | None, weak: int
) -> None:
    for target in TARGETS:
        name, own = f"layers.{index}.{target}", 0 if target == "o" else weak
        weight = source.weight(name)
        if isinstance(weight, QuantizedWeight):
            made.kept += 1
            made.put(name, weight)
            continue
        plain = quantize(weight, BITS, name, own)
        if moments is None:
            made.put(name, plain)
            continue
        rounded = gptq(weight, moments.of(target), own)
        made.measure(weight, rounded, plain, moments.of(target))
        made.put(name, rounded)


def _any_float(source: WeightSource) -> bool:
    """Whether some linear is not stored in few bits yet."""
    return any(
        not isinstance(source.weight(f"layers.{index}.{target}"), QuantizedWeight)
        for index in range(source.spec.n_layers)
        for target in TARGETS
    )
