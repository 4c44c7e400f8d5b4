"""The base's weights out of a bundle, and what rounding to their grid does to a change of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.kernels.quantized_linear import (
    GROUP,
    dequantize,
    fit_groups,
    pack_codes,
    round_groups,
)
from dsa_edge.weights import read_frozen, stem_of

__all__ = ["Base", "Quantized", "check_order", "open_base"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """A stored weight: codes, scales and minima as `docs/format.md` has them."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    minimum: NDArray[np.float16] | None
    weak: NDArray[np.float16] | None = None  # the last columns, where these are in 16 bits

    @property
    def bits(self) -> int:
        """4 or 8."""
        return 8 if self.codes.shape[-1] == GROUP else 4

    @property
    def dense(self) -> Floats:
        """(n_out, n_in)."""
        grouped = dequantize(self.codes, self.scales, self.minimum, self.bits)
        return grouped if self.weak is None else self._with(grouped, self.weak)

    def rounded(self, weight: Floats) -> list[Floats]:
        """Another weight of this shape in these bits: on this grid, and on one fitted to it."""
        strong = weight.shape[1] - (0 if self.weak is None else self.weak.shape[1])
        groups = weight[:, :strong].reshape(len(weight), -1, GROUP)
        affine = self.minimum is not None
        grids = (self.scales, self.minimum), fit_groups(groups, self.bits, affine)
        found = [self._on(groups, *grid) for grid in grids]
        if self.weak is None:
            return found
        return [self._with(grouped, weight[:, strong:].astype(np.float16)) for grouped in found]

    @staticmethod
    def _with(grouped: Floats, weak: NDArray[np.float16]) -> Floats:
        return np.concatenate([grouped, weak.astype(np.float32)], 1)

    def _on(
        self, groups: Floats, scales: NDArray[np.float16], minimum: NDArray[np.float16] | None
    ) -> Floats:
        codes = pack_codes(round_groups(groups, scales, minimum, self.bits), self.bits)
        return dequantize(codes, scales, minimum, self.bits)


class Base:
    """The frozen tensors of a bundle under canonical names (`layers.3.q`, `embedding` …)."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def has(self, name: str) -> bool:
        """Whether the base has a tensor of this name."""
        stem = stem_of(name)
        return stem in self._arrays or f"{stem}.codes" in self._arrays

    def quantized(self, name: str) -> Quantized:
        """A weight as it is stored."""
        stem = stem_of(name)
        arrays = self._arrays
        parts = (arrays.get(f"{stem}.{part}") for part in ("minimum", "weak"))
        return Quantized(arrays[f"{stem}.codes"], arrays[f"{stem}.scales"], *parts)

    def dense(self, name: str) -> Floats:
        """A tensor in float32."""
        stored = self._arrays.get(stem_of(name))
        return self.quantized(name).dense if stored is None else np.array(stored, np.float32)


def check_order(bundle: Bundle) -> None:
    """Refuse a bundle whose channels are in another order than the model's, by AdapterError."""
    quantized = bundle.manifest.quantized
    if quantized is not None and quantized.weak_columns:
        raise AdapterError(
            f"the base of {bundle.path} has {quantized.weak_columns} weak columns, so its channels "
            "are in another order than the model's that other libraries know; expected the model's "
            "own order: export the base without --weak-columns, or merge, which writes base and "
            "adapter in one order."
        )


def open_base(bundle: Bundle) -> Base:
    """The base of a bundle. Raises AdapterError where only ExecuTorch's packed weights are."""
    if not bundle.manifest.methods:
        raise AdapterError(
            f"{bundle.path} holds the base for ExecuTorch alone, expected ONNX graphs, whose "
            "weights can be read: export it with `--backend onnx` to merge."
        )
    return Base(read_frozen(bundle))
