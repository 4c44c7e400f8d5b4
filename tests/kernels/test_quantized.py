"""Quantized weights: layout, rounding, and the torch ops against their numpy references."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsa_edge.errors import ExportError
from dsa_edge.exporters.decoder import QuantizedWeight, quantize
from dsa_edge.kernels import torch_ops
from dsa_edge.kernels.quantized_linear import dequantize, pack_codes, unpack_codes


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(1, 32), (7, 96), (64, 64)])
def test_codes_survive_packing(bits: int, shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, shape, dtype=np.uint8)
    packed = pack_codes(codes, bits)
    assert packed.shape == (shape[0], shape[1] // 32, 4 * bits)
    np.testing.assert_array_equal(unpack_codes(packed, bits), codes)


def weight(bits: int, affine: bool) -> QuantizedWeight:
    random = np.random.default_rng(1)
    codes = random.integers(0, 2**bits, (6, 64), dtype=np.uint8)
    scales = random.random((6, 2)).astype(np.float16)
    minimum = random.standard_normal((6, 2)).astype(np.float16) if affine else None
    return QuantizedWeight(bits, pack_codes(codes, bits), scales, minimum)


@pytest.mark.parametrize(("bits", "affine"), [(4, True), (4, False), (8, False)])
def test_the_torch_op_equals_the_reference_and_passes_opcheck(bits: int, affine: bool) -> None:
    stored = weight(bits, affine)
    minimum = None if stored.minimum is None else torch.from_numpy(stored.minimum)
    codes, scales = torch.from_numpy(stored.codes), torch.from_numpy(stored.scales)
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0))
    given = (x, codes, scales, minimum, bits)
    expected = x.numpy() @ stored.dense().T
    # float32 sums of 64 terms in another order
    np.testing.assert_allclose(torch_ops.quantized_linear(*given), expected, rtol=1e-5, atol=1e-5)
    torch.library.opcheck(torch.ops.dsa.quantized_linear.default, given)


def test_embedding_rows_are_the_dense_rows() -> None:
    stored = weight(8, False)
    ids = torch.tensor([[5, 0], [3, 3]])
    given = (ids, torch.from_numpy(stored.codes), torch.from_numpy(stored.scales), 8)
    np.testing.assert_array_equal(torch_ops.quantized_embedding(*given), stored.dense()[ids])
    torch.library.opcheck(torch.ops.dsa.quantized_embedding.default, given)


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_within_half_a_step_and_constant_groups_stay(bits: int) -> None:
    random = np.random.default_rng(2)
    w = random.standard_normal((8, 96)).astype(np.float32)
    w[3] = 0.0
    w[4, :32] = 0.75
    stored = quantize(w, bits)
    step = stored.scales.astype(np.float32).repeat(32, 1)
    # half a step, and what float16 scales and minima add: 2^-11 of the largest magnitude each
    bound = 0.5 * step + np.abs(w).max() * (2**-10 + (2**bits) * 2**-11 / 2**bits)
    assert (np.abs(stored.dense() - w) <= bound).all()
    assert (stored.dense()[3] == 0).all()


def test_widths_that_are_no_multiple_of_32_and_damage_are_refused() -> None:
    with pytest.raises(ExportError, match="multiple of 32"):
        quantize(np.zeros((4, 40), np.float32), 4)
    with pytest.raises(ExportError, match="not finite"):
        quantize(np.full((4, 32), np.nan, np.float32), 4)


def test_dequantize_follows_the_two_formulas() -> None:
    codes = np.full((1, 32), 3, np.uint8)
    scale, minimum = np.full((1, 1), 0.5, np.float16), np.full((1, 1), -2, np.float16)
    assert dequantize(pack_codes(codes, 4), scale, None, 4)[0, 0] == 0.5 * (3 - 8)
    assert dequantize(pack_codes(codes, 4), scale, minimum, 4)[0, 0] == 0.5 * 3 - 2
    assert dequantize(pack_codes(codes, 8), scale, None, 8)[0, 0] == 0.5 * (3 - 128)
