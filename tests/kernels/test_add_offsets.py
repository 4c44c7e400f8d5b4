"""The affine part of quantized products: reference, ONNX function and compiled op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from one_op import one_op
from onnx import TensorProto

from dsa_edge.kernels.add_offsets import add_offsets
from dsa_edge.kernels.library import library_path
from dsa_edge.kernels.onnx_function import add_offsets_function
from dsa_edge.kernels.quantized_linear import dequantize, fit_groups, pack_codes, round_groups

TOLERANCE = {"rtol": 1e-5, "atol": 1e-3}  # float32 sums of up to 2,400 numbers of size 1, reordered
needs_kernels = pytest.mark.skipif(
    library_path("dsa_onnxruntime") is None, reason="the kernels are not built: no compiler"
)
SHAPES: dict[str, tuple[tuple[int, ...], int, int]] = {  # rows, groups, n_out
    "one token": ((1, 1, 1), 18, 576),
    "a step": ((8, 16, 2), 18, 192),
    "more groups than a unit takes": ((1, 2), 75, 64),
    "wide": ((1, 3), 2, 1100),
    "odd": ((5,), 3, 17),
    "one output": ((2, 25), 1, 1),
    "nothing": ((0, 4), 2, 8),
}
sweep = pytest.mark.parametrize("name", SHAPES)


def given(rows: tuple[int, ...], groups: int, n_out: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    return {
        "x": random.standard_normal((*rows, groups * 32)).astype(np.float32),
        "y": random.standard_normal((*rows, n_out)).astype(np.float32),
        "offsets": random.standard_normal((groups, n_out)).astype(np.float16),
    }


def session(inputs: dict[str, NDArray[Any]], kernels: bool) -> Any:
    outputs = {"z": (TensorProto.FLOAT, inputs["y"].ndim)}
    return one_op("add_offsets", inputs, outputs, add_offsets_function(), kernels)


def test_with_codes_around_eight_it_makes_an_affine_product() -> None:
    random = np.random.default_rng(1)
    weights = random.standard_normal((6, 64)).astype(np.float32)
    groups = weights.reshape(6, -1, 32)
    scales, minimum = fit_groups(groups, 4, affine=True)
    assert minimum is not None
    packed = pack_codes(round_groups(groups, scales, minimum, 4), 4)
    x = random.standard_normal((3, 64)).astype(np.float32)
    around_eight = x @ dequantize(packed, scales, None, 4).T
    offsets = (minimum.astype(np.float32) + 8 * scales.astype(np.float32)).T
    found = add_offsets(x, around_eight, offsets.astype(np.float16))
    expected = x @ dequantize(packed, scales, minimum, 4).T
    # Offsets in float16: 2^-11 of each, times the sums of 32 numbers, of two groups.
    assert np.abs(found - expected).max() < 2 * 2**-11 * np.abs(offsets).max() * 32


@sweep
def test_the_onnx_function_equals_the_reference(name: str) -> None:
    inputs = given(*SHAPES[name])
    if not inputs["x"].size:
        pytest.skip("standard operators cannot reshape an empty tensor to an unknown axis")
    (z,) = session(inputs, kernels=False).run(None, inputs)
    np.testing.assert_allclose(z, add_offsets(**inputs), **TOLERANCE)


@needs_kernels
@sweep
def test_the_onnx_op_equals_the_reference(name: str) -> None:
    inputs = given(*SHAPES[name])
    (z,) = session(inputs, kernels=True).run(None, inputs)
    np.testing.assert_allclose(z, add_offsets(**inputs), **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize("name", ["x", "y", "offsets"])
def test_what_does_not_belong_together_is_refused(name: str) -> None:
    inputs = given((2, 3), 2, 8)
    with pytest.raises(Exception, match="shapes do not belong together: export the bundle anew"):
        session(inputs, kernels=True).run(None, {**inputs, name: inputs[name][:, :-1]})
