"""Products with 4- and 8-bit weights in groups of 32: layout, Python reference, torch op.

A weight (n_out, n_in) is stored as unsigned codes, one scale a group and, for affine formats,
one floating minimum a group; groups run along the inputs:

    symmetric   w = scale · (code − 2^(bits−1))          GGUF Q4_0, Q8_0
    affine      w = scale · code + minimum               GGUF Q4_1

`pack_codes` writes the byte layout of ONNX Runtime's `MatMulNBits` (4 bit: low nibble first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GROUP", "dequantize", "pack_codes", "unpack_codes"]

GROUP = 32  # weights that share one scale


def pack_codes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes (n_out, n_in) in 0 … 2^bits − 1 → bytes (n_out, n_in / 32, 4 · bits)."""
    grouped = codes.reshape(codes.shape[0], -1, GROUP)
    if bits == 8:
        return np.ascontiguousarray(grouped)
    packed: NDArray[np.uint8] = grouped[..., 0::2] | (grouped[..., 1::2] << np.uint8(4))
    return packed


def unpack_codes(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes (n_out, n_in / 32, 4 · bits) → codes (n_out, n_in): the inverse of `pack_codes`."""
    if bits == 8:
        return packed.reshape(packed.shape[0], -1)
    codes = np.stack([packed & 15, packed >> 4], axis=-1)
    return codes.reshape(packed.shape[0], -1)


def dequantize(
    packed: NDArray[np.uint8],
    scales: NDArray[np.float16],
    minimum: NDArray[np.float16] | None,
    bits: int,
) -> NDArray[np.float32]:
    """Weights (n_out, n_in) from bytes, scales and minima (n_out, n_in / 32) each."""
    n_out = packed.shape[0]
    codes = unpack_codes(packed, bits).reshape(n_out, -1, GROUP).astype(np.float32)
    scale = scales.astype(np.float32)[..., None]
    if minimum is None:
        weights = (codes - 2.0 ** (bits - 1)) * scale
    else:
        weights = codes * scale + minimum.astype(np.float32)[..., None]
    return weights.astype(np.float32).reshape(n_out, -1)
