"""Every lane's rows by its own matrix: reference, compiled kernel, torch op and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsa_edge.errors import EngineError
from dsa_edge.kernels import native_ops, torch_adapter
from dsa_edge.kernels.lane_linear import lane_linear
from dsa_edge.kernels.library import library_path

needs_kernels = pytest.mark.skipif(
    library_path("dsa_kernels") is None, reason="the kernels are not built: no CMake or compiler"
)
SHAPES = [(1, 1, 1, 1), (3, 5, 7, 9), (2, 17, 33, 4), (32, 3, 96, 8), (4, 16, 8, 40), (2, 0, 4, 5)]


def given(lanes: int, rows: int, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((lanes * rows, n_in)).astype(np.float32)
    return x, random.standard_normal((lanes, n_out, n_in)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_is_a_product_row_by_row(shape: tuple[int, ...]) -> None:
    x, weight = given(*shape)
    y = lane_linear(x, weight)
    assert y.shape == (len(x), shape[3])
    for row in range(len(x)):
        expected = weight[row // shape[1]] @ x[row]
        np.testing.assert_allclose(y[row], expected, rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("isa", native_ops.ISAS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_the_reference(shape: tuple[int, ...], isa: str, threads: int) -> None:
    x, weight = given(*shape)
    try:
        y = native_ops.lane_linear(x, weight, isa, threads)
    except EngineError as error:
        if "lacks the instruction set" not in str(error):
            raise
        pytest.skip(f"this machine lacks {isa}")
    # float32 sums of up to 96 terms of size 1, in another order
    np.testing.assert_allclose(y, lane_linear(x, weight), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_the_torch_op_is_the_reference_and_differentiable(shape: tuple[int, ...]) -> None:
    x, weight = given(*shape)
    op = torch_adapter.lane_linear
    tensors = torch.from_numpy(x), torch.from_numpy(weight)
    np.testing.assert_allclose(op(*tensors), lane_linear(x, weight), rtol=1e-4, atol=1e-4)
    out = torch.empty(len(x), shape[3])
    torch.ops.dsa.lane_linear.out(*tensors, out=out)
    torch.testing.assert_close(out, op(*tensors))
    torch.library.opcheck(torch.ops.dsa.lane_linear.default, tensors)
    doubles = [t.double().requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(op, doubles)
