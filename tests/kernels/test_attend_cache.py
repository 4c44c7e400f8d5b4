"""Attention over one layer of a cache of all: reference, ONNX function, compiled op, torch op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from one_op import one_op
from onnx import TensorProto

from dsa_edge.kernels import torch_adapter
from dsa_edge.kernels.attend import attend
from dsa_edge.kernels.attend_cache import attend_cache
from dsa_edge.kernels.library import library_path
from dsa_edge.kernels.onnx_attention import attend_cache_function

OUTPUTS = {
    "y": (TensorProto.FLOAT, 4),
    "new_keys": (TensorProto.FLOAT16, 5),
    "new_values": (TensorProto.FLOAT16, 5),
}
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}  # float32 sums of up to 150 terms of size 1, reordered
HALF = {"rtol": 2**-10, "atol": 1e-6}  # of a rotated number, on the edge of two float16
needs_kernels = pytest.mark.skipif(
    library_path("dsa_onnxruntime") is None, reason="the kernels are not built: no compiler"
)
SETTINGS = ("scale", "softcap", "window")


def given(
    layers: int = 3, layer: int = 1, batch: int = 2, new: int = 2, heads: int = 6, groups: int = 2,
    dim: int = 16, rotated: int = 16, prefix: int = 3, past: int = 40, softcap: float = 0.0,
    window: int = 0, lengths: tuple[int, ...] | None = None,
) -> dict[str, Any]:  # fmt: skip
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    angle = normal(batch, new, rotated // 2)
    angles = np.concatenate([angle, angle], -1)
    halves = {
        name: normal(*shape).astype(np.float16)
        for name, shape in {
            "prefix_keys": (layers, 1, groups, prefix, dim),
            "prefix_values": (layers, 1, groups, prefix, dim),
            "keys": (layers, batch, groups, past, dim),
            "values": (layers, batch, groups, past, dim),
        }.items()
    }
    return {
        "q": normal(1, batch, new, heads * dim),
        "k": normal(1, batch, new, groups * dim),
        "v": normal(1, batch, new, groups * dim),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
        **halves,
        "lengths": np.array(lengths or random.integers(0, past + 1, batch)),
        "layer": np.array(layer),
        "scale": dim**-0.5,
        "softcap": softcap,
        "window": window,
    }


CASES: dict[str, dict[str, Any]] = {
    "a prompt's last tokens": {},
    "one token": {"batch": 1, "new": 1, "lengths": (40,)},
    "the first layer": {"layer": 0},
    "the last layer": {"layer": 2},
    "no prefix": {"prefix": 0},
    "nothing before": {"prefix": 0, "past": 0},
    "many tokens": {"new": 21, "past": 5},
    "one group": {"groups": 1},
    "odd head": {"dim": 10, "rotated": 6},
    "wide head": {"dim": 256, "rotated": 64},
    "window": {"window": 4, "new": 6},
    "softcap": {"softcap": 2.0},
}
sweep = pytest.mark.parametrize("name", CASES)


def session(inputs: dict[str, Any], kernels: bool) -> Any:
    tensors = {k: v for k, v in inputs.items() if k not in SETTINGS}
    settings = {k: inputs[k] for k in SETTINGS}
    function = attend_cache_function(inputs["softcap"] > 0, inputs["window"] > 0)
    return one_op("attend_cache", tensors, OUTPUTS, function, kernels, **settings), tensors


def same(found: Any, inputs: dict[str, Any]) -> None:
    y, keys, values = attend_cache(**{**inputs, "layer": int(inputs["layer"])})
    np.testing.assert_allclose(found[0], y, **TOLERANCE)
    np.testing.assert_allclose(found[1].astype(np.float32), keys.astype(np.float32), **HALF)
    np.testing.assert_array_equal(found[2], values)


@sweep
def test_the_reference_is_attention_over_that_layer_alone(name: str) -> None:
    inputs = given(**CASES[name])
    y, keys, values = attend_cache(**{**inputs, "layer": int(inputs["layer"])})
    at, dim = int(inputs["layer"]), inputs["keys"].shape[-1]
    heads = [inputs[n].reshape(*inputs[n].shape[:3], -1, dim) for n in ("q", "k", "v")]
    caches = [inputs[n][at] for n in ("prefix_keys", "prefix_values", "keys", "values")]
    rest = [inputs[n] for n in ("lengths", *SETTINGS)]
    expected, turned = attend(*heads, inputs["cos"], inputs["sin"], *caches, *rest)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(keys[0], turned[0].swapaxes(1, 2).astype(np.float16))
    np.testing.assert_array_equal(values[0], heads[2][0].swapaxes(1, 2).astype(np.float16))


@sweep
def test_the_onnx_function_equals_the_reference(name: str) -> None:
    inputs = given(**CASES[name])
    made, tensors = session(inputs, kernels=False)
    same(made.run(None, tensors), inputs)


@needs_kernels
@sweep
def test_the_onnx_op_equals_the_reference(name: str) -> None:
    inputs = given(**CASES[name])
    made, tensors = session(inputs, kernels=True)
    same(made.run(None, tensors), inputs)


@sweep
def test_the_torch_op_equals_the_reference(name: str) -> None:
    inputs = given(**CASES[name])
    tensors = [torch.as_tensor(v) for k, v in inputs.items() if k not in SETTINGS]
    found = torch_adapter.attend_cache(*tensors, *(inputs[k] for k in SETTINGS))
    same([t.numpy() for t in found], inputs)


@needs_kernels
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer": np.array(3)}, "the layer is not within the cache"),
        ({"layer": np.array(-1)}, "the layer is not within the cache"),
        ({"lengths": np.array([41, 0])}, "a length is not within its cache"),
        ({"lengths": np.array([1])}, "shapes do not belong together: export"),
        ({"values": np.zeros((3, 2, 2, 39, 16), np.float16)}, "shapes do not belong together"),
        ({"k": np.zeros((1, 2, 2, 16), np.float32)}, "shapes do not belong together"),
        ({"q": np.zeros((1, 2, 2, 95), np.float32)}, "shapes do not belong together"),
    ],
)
def test_what_does_not_belong_together_is_refused(changed: dict[str, Any], message: str) -> None:
    made, tensors = session(given(), kernels=True)
    with pytest.raises(Exception, match=message):
        made.run(None, {**tensors, **changed})
