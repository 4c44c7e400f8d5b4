"""A quantized weight as it is stored, from the checkpoint to the bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import ExportError
from dsa_edge.kernels.quantized_linear import (
    GROUP,
    dequantize,
    fit_groups,
    pack_codes,
    round_groups,
)

__all__ = ["QuantizedWeight", "quantize"]


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight in groups of 32 along the inputs (`kernels.quantized_linear` has the formulas).

    codes: uint8 (n_out, n_in / 32, 4 · bits) in the layout of `pack_codes`.
    scales: float16 (n_out, n_in / 32).
    minimum: float16 (n_out, n_in / 32) for affine formats, None for symmetric ones.
    weak: float16 (n_out, k), the last k input columns where these are kept in 16 bits; n_in above
        is then without them.
    """

    bits: int
    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    minimum: NDArray[np.float16] | None = None
    weak: NDArray[np.float16] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in), weak columns included."""
        weak = 0 if self.weak is None else self.weak.shape[1]
        return self.codes.shape[0], self.scales.shape[1] * GROUP + weak

    def rows(self, order: NDArray[np.int64]) -> QuantizedWeight:
        """The weight with its output rows in another order; groups are untouched."""
        minimum = None if self.minimum is None else self.minimum[order]
        weak = None if self.weak is None else self.weak[order]
        return QuantizedWeight(self.bits, self.codes[order], self.scales[order], minimum, weak)

    def groups(self, kept: NDArray[np.int64]) -> QuantizedWeight:
        """The weight with some of its groups of inputs, untouched."""
        minimum = None if self.minimum is None else self.minimum[:, kept]
        return QuantizedWeight(self.bits, self.codes[:, kept], self.scales[:, kept], minimum)

    def dense(self) -> NDArray[np.float32]:
        """Float32 weights (n_out, n_in), weak columns included."""
        grouped = dequantize(self.codes, self.scales, self.minimum, self.bits)
        if self.weak is None:
            return grouped
        return np.concatenate([grouped, self.weak.astype(np.float32)], 1)


def quantize(
    weight: NDArray[np.float32], bits: int, name: str = "weight", weak: int = 0
) -> QuantizedWeight:
    """Round a float weight (n_out, n_in) to groups of 32: affine in 4 bits, symmetric in 8.

    weak: last columns, a multiple of 32, which become float16 instead.
    Raises ExportError when n_in is not a multiple of 32 or a value is not finite.
    """
    n_out, n_in = weight.shape
    if n_in % GROUP:
        raise ExportError(
            f"{name} has {n_in} inputs, expected a multiple of {GROUP}: this model's width "
            "cannot be quantized in groups; export another model."
        )
    if not np.isfinite(weight).all():
        raise ExportError(f"{name} holds values that are not finite: the checkpoint is damaged.")
    groups = weight[:, : n_in - weak].reshape(n_out, -1, GROUP)
    scales, minimum = fit_groups(groups, bits, affine=bits == 4)
    codes = pack_codes(round_groups(groups, scales, minimum, bits), bits)
    tail = weight[:, n_in - weak :].astype(np.float16) if weak else None
    return QuantizedWeight(bits, codes, scales, minimum, tail)
