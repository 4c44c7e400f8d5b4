"""GPTQ: the paper's recurrence, its advantage over plain rounding, and weak columns that help."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.exporters.decoder import QuantizedWeight, quantize
from dsa_edge.exporters.quantization import gptq
from dsa_edge.exporters.quantization._gptq import DAMPING, output_error
from dsa_edge.kernels.quantized_linear import GROUP, fit_groups, unpack_codes

N_OUT, N_IN = 24, 192


def made(seed: int = 0) -> tuple[NDArray[np.float32], Tensor]:
    """A weight, and 2 X Xᵀ / n of inputs that correlate, as a decoder's do."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((N_OUT, N_IN)).astype(np.float32)
    mixing = random.standard_normal((N_IN, 24)) * random.lognormal(0, 1, (N_IN, 1))
    x = mixing @ random.standard_normal((24, 2000)) + 0.3 * random.standard_normal((N_IN, 2000))
    return weight, torch.from_numpy(2 * x @ x.T / 2000)


def naive(weight: NDArray[np.float32], hessian: Tensor) -> NDArray[np.float64]:
    """Optimal brain quantization in one order: H of the columns left is inverted every time."""
    scales, minimum = fit_groups(weight.reshape(N_OUT, -1, GROUP), 4, affine=True)
    assert minimum is not None
    h = hessian.numpy() + DAMPING * float(hessian.diagonal().mean()) * np.eye(N_IN)
    w, left = (
        weight.astype(np.float64),
        list(np.argsort(-hessian.diagonal().numpy(), kind="stable")),
    )
    while left:
        j = left[0]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        step, low = scales[:, j // GROUP].astype(float), minimum[:, j // GROUP].astype(float)
        rounded = np.clip(np.rint((w[:, j] - low) / step), 0, 15) * step + low
        error = (w[:, j] - rounded) / inverse[0, 0]
        w[:, left[1:]] -= error[:, None] * inverse[0, 1:]
        w[:, j] = rounded
        left = left[1:]
    return w


def test_it_is_the_papers_recurrence() -> None:
    weight, hessian = made()
    found, expected = gptq(weight, hessian).dense(), naive(weight, hessian)
    # A value that lies between two points to within float32 may go either way, and take its
    # successors along: the codes of one output in 24 at most.
    differing = (np.abs(found - expected) > 1e-4).any(1).sum()
    assert differing <= 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("seed", range(3))
def test_outputs_lose_less_than_by_plain_rounding(seed: int) -> None:
    weight, hessian = made(seed)
    losses = [
        output_error(weight - stored.dense(), hessian)
        for stored in (gptq(weight, hessian), quantize(weight, 4), gptq(weight, hessian, weak=32))
    ]
    assert losses[0] < 0.5 * losses[1]
    assert losses[2] < losses[0]  # weak columns take up what is left


def test_inputs_that_do_not_correlate_leave_plain_rounding() -> None:
    weight, _ = made()
    found, plain = gptq(weight, torch.eye(N_IN).double()), quantize(weight, 4)
    assert np.array_equal(found.scales, plain.scales)
    # equal but for values that float32 cannot tell to lie on one side of the middle
    same = unpack_codes(found.codes, 4) == unpack_codes(plain.codes, 4)
    assert same.mean() > 0.999


def test_inputs_that_are_never_there_and_rows_of_one_value_are_no_trouble() -> None:
    weight, hessian = made()
    hessian[5], hessian[:, 5] = 0, 0
    weight[3] = 0.25
    found = gptq(weight, hessian).dense()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[3], 0.25, atol=1e-3)  # float16 minimum, a step of 0


def test_weak_columns_are_kept_in_sixteen_bits_and_rows_take_them_along() -> None:
    weight, hessian = made()
    stored = gptq(weight, hessian, weak=64)
    assert stored.shape == weight.shape
    assert stored.codes.shape[1] == (N_IN - 64) // GROUP
    assert stored.weak is not None
    assert stored.weak.dtype == np.float16
    order = np.arange(N_OUT)[::-1].copy()
    np.testing.assert_array_equal(stored.rows(order).dense(), stored.dense()[::-1])
    plain = quantize(weight, 4, weak=64)
    np.testing.assert_allclose(plain.dense()[:, -64:], weight[:, -64:], rtol=1e-3)
    assert isinstance(plain, QuantizedWeight)
