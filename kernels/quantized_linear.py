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

__all__ = ["GROUP", "dequantize", "fit_groups", "pack_codes", "round_groups", "unpack_codes"]

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


def fit_groups(
    groups: NDArray[np.float32], bits: int, affine: bool
) -> tuple[NDArray[np.float16], NDArray[np.float16] | None]:
    """Scales and, for affine formats, minima that span groups (n_out, n_in / 32, 32)."""
    if not affine:
        return (np.abs(groups).max(-1) / (2 ** (bits - 1) - 1)).astype(np.float16), None
    low, high = groups.min(-1), groups.max(-1)
    return ((high - low) / (2**bits - 1)).astype(np.float16), low.astype(np.float16)


def round_groups(
    groups: NDArray[np.float32],
    scales: NDArray[np.float16],
    minimum: NDArray[np.float16] | None,
    bits: int,
) -> NDArray[np.uint8]:
    """Codes (n_out, n_in) of the nearest points on the groups' grids."""
    step = np.where(scales == 0, 1, scales).astype(np.float32)[..., None]
    offset = np.float32(0) if minimum is None else minimum.astype(np.float32)[..., None]
    codes = np.rint((groups - offset) / step) + (2 ** (bits - 1) if minimum is None else 0)
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint8).reshape(groups.shape[0], -1)
