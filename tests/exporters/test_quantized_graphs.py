"""Our quantized ops as ONNX Runtime computes them, against their dense references."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dsa_edge.exporters.decoder import QuantizedWeight, quantize
from dsa_edge.exporters.onnx._ops import OPSET, translations
from dsa_edge.kernels.onnx_function import add_offsets_function
from dsa_edge.kernels.quantized_linear import pack_codes

N_IN, N_OUT = 96, 40
Run = Callable[[NDArray[np.float32], NDArray[np.int64]], dict[str, NDArray[np.float32]]]


def weights() -> dict[str, QuantizedWeight]:
    random = np.random.default_rng(0)
    codes = random.integers(0, 16, (N_OUT, N_IN), dtype=np.uint8)
    scales = (0.02 * random.random((N_OUT, N_IN // 32)) + 0.001).astype(np.float16)
    minima = (-0.2 * random.random((N_OUT, N_IN // 32))).astype(np.float16)
    plain = random.standard_normal((N_OUT, N_IN)).astype(np.float32) * 0.1
    return {
        "affine": QuantizedWeight(4, pack_codes(codes, 4), scales, minima),
        "symmetric": QuantizedWeight(4, pack_codes(codes, 4), scales, None),
        "bytes": quantize(plain, 8),
    }


class AllForms(nn.Module):
    """Every form of weight in one graph, so that it is traced once a level."""

    def __init__(self) -> None:
        super().__init__()
        for name, stored in weights().items():
            for part in ("codes", "scales", "minimum"):
                array = getattr(stored, part)
                tensor = None if array is None else torch.from_numpy(array)
                self.register_buffer(f"{name}_{part}", tensor)

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        linear, rows = torch.ops.dsa.quantized_linear, torch.ops.dsa.quantized_embedding
        return (
            linear(x, self.affine_codes, self.affine_scales, self.affine_minimum, 4),
            linear(x, self.symmetric_codes, self.symmetric_scales, None, 4),
            linear(x, self.bytes_codes, self.bytes_scales, self.bytes_minimum, 8),
            rows(ids, self.bytes_codes, self.bytes_scales, 8),
        )


@pytest.fixture(scope="module", params=[0, 4])
def level(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def run(level: int) -> Run:
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own deprecations
        program = torch.onnx.export(
            AllForms().eval(), (torch.zeros(2, 3, N_IN), torch.zeros(4, dtype=torch.int64)),
            dynamic_shapes=({0: dynamic, 1: dynamic}, {0: dynamic}),
            custom_translation_table=translations(level), opset_version=OPSET, dynamo=True,
            verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    model.functions.append(add_offsets_function())  # as every graph of a bundle has it
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [i.name for i in session.get_inputs()]

    def call(x: NDArray[np.float32], ids: NDArray[np.int64]) -> dict[str, Any]:
        outputs = session.run(None, dict(zip(names, (x, ids), strict=True)))
        return dict(zip(("affine", "symmetric", "bytes", "rows"), outputs, strict=True))

    return call


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 9)], ids=["one row", "5 rows", "36 rows"])
def test_products_equal_the_dense_reference(run: Run, level: int, shape: tuple[int, int]) -> None:
    """One row takes another kernel (a matrix times a vector) than many rows."""
    x = np.random.default_rng(1).standard_normal((*shape, N_IN)).astype(np.float32)
    outputs = run(x, np.array([0]))
    for name, stored in weights().items():
        expected = x @ stored.dense().T
        # Level 0: float32 sums of 96 terms in another order. Level 4: activations in int8, half a
        # step of (largest of its block) / 127 each; errors of 96 terms add like a random walk.
        step = np.abs(x).max() / 127 / 2 * np.abs(stored.dense()).max()
        bound = 1e-4 if level == 0 else 3 * step * np.sqrt(N_IN)
        if stored.minimum is not None:  # offsets in float16: 2^-11 of each, times its group's sum
            offsets = stored.minimum.astype(np.float32) + 8 * stored.scales.astype(np.float32)
            sums = np.abs(x.reshape(-1, N_IN // 32, 32).sum(-1))
            bound += float((sums @ np.abs(offsets).T).max()) * 2**-11
        error = np.abs(outputs[name] - expected).max()
        assert error <= bound, name
        assert bound < 0.25 * expected.std(), name  # the bound would notice a wrong formula


def test_gathered_rows_equal_the_dense_rows(run: Run) -> None:
    ids = np.array([0, 39, 7, 7, 1])
    dense = weights()["bytes"].dense()
    found = run(np.zeros((1, 1, N_IN), np.float32), ids)["rows"]
    np.testing.assert_allclose(found, dense[ids], rtol=1e-6, atol=1e-7)
