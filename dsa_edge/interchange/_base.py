"""The base's weights out of a bundle, and what rounding to their grid does to a change of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.interchange._weights import read_frozen
from dsa_edge.kernels.quantized_linear import GROUP, dequantize

__all__ = ["Base", "Quantized", "open_base"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """A stored weight: codes, scales and minima as `docs/format.md` has them."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    minimum: NDArray[np.float16] | None

    @property
    def bits(self) -> int:
        """4 or 8."""
        return 8 if self.codes.shape[-1] == GROUP else 4

    @property
    def dense(self) -> Floats:
        """(n_out, n_in)."""
        return dequantize(self.codes, self.scales, self.minimum, self.bits)

    def rounded(self, weight: Floats) -> list[Floats]:
        """Another weight of this shape in these bits: on this grid, and on one fitted to it."""
        groups = weight.reshape(len(weight), -1, GROUP)
        own = (self.scales, self.minimum)
        return [_on_grid(groups, *grid, self.bits).reshape(weight.shape)
                for grid in (own, self._fitted(groups))]  # fmt: skip

    def _fitted(self, groups: Floats) -> tuple[NDArray[np.float16], NDArray[np.float16] | None]:
        """Scales and minima as an export would choose them (`exporters/decoder/_weight.py`)."""
        if self.minimum is None:
            most = 2 ** (self.bits - 1) - 1
            return (np.abs(groups).max(-1) / most).astype(np.float16), None
        low, high = groups.min(-1), groups.max(-1)
        return ((high - low) / (2**self.bits - 1)).astype(np.float16), low.astype(np.float16)


def _on_grid(
    groups: Floats, scales: NDArray[np.float16], minimum: NDArray[np.float16] | None, bits: int
) -> Floats:
    """Each value (n_out, groups, 32) at the nearest point of its group's grid."""
    scale = scales.astype(np.float32)[..., None]
    if minimum is None:
        low: Any = -(2 ** (bits - 1)) * scale
    else:
        low = minimum.astype(np.float32)[..., None]
    codes = np.rint((groups - low) / np.where(scale == 0, np.float32(1), scale))
    return np.clip(codes, 0, 2**bits - 1) * scale + low


class Base:
    """The frozen tensors of a bundle under canonical names (`layers.3.q`, `embedding` …)."""

    _ENDS = {  # noqa: RUF012
        "embedding": "decoder.embedding",
        "head": "decoder.top.table",
        "final_norm": "decoder.top.norm.gain",
    }

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def has(self, name: str) -> bool:
        """Whether the base has a tensor of this name."""
        stem = self._stem(name)
        return stem in self._arrays or f"{stem}.codes" in self._arrays

    def quantized(self, name: str) -> Quantized:
        """A weight as it is stored."""
        stem = self._stem(name)
        arrays = self._arrays
        return Quantized(
            arrays[f"{stem}.codes"], arrays[f"{stem}.scales"], arrays.get(f"{stem}.minimum")
        )

    def dense(self, name: str) -> Floats:
        """A tensor in float32."""
        stored = self._arrays.get(self._stem(name))
        return self.quantized(name).dense if stored is None else np.array(stored, np.float32)

    def _stem(self, name: str) -> str:
        if name in self._ENDS:
            return self._ENDS[name]
        _, layer, part = name.split(".", 2)
        if part.startswith("norms."):
            return f"decoder.layers.{layer}.{part}.gain"
        return f"decoder.layers.{layer}.linears.{part}"


def open_base(bundle: Bundle) -> Base:
    """The base of a bundle. Raises AdapterError where only ExecuTorch's packed weights are."""
    if not bundle.manifest.methods:
        raise AdapterError(
            f"{bundle.path} holds the base for ExecuTorch alone, expected ONNX graphs, whose "
            "weights can be read: export it with `--backend onnx` to merge."
        )
    return Base(read_frozen(bundle))
