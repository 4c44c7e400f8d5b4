"""A graph of one of our operators: its function, or our kernel in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from dsa_edge.kernels.library import library_path

__all__ = ["one_op"]


def one_op(
    name: str, given: Mapping[str, NDArray[Any]], outputs: dict[str, tuple[int, int]],
    function: onnx.FunctionProto, kernels: bool, **attributes: Any,
) -> Any:  # fmt: skip
    """A session; outputs: type and axes by name. The order of `given` is that of the inputs."""
    values = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
        for k, a in given.items()
    ]
    made = [
        helper.make_tensor_value_info(k, kind, [None] * axes) for k, (kind, axes) in outputs.items()
    ]
    node = helper.make_node(name, list(given), list(outputs), domain="dsa", **attributes)
    model = helper.make_model(
        helper.make_graph([node], "one", values, made),
        functions=[function],
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("dsa", 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    if kernels:
        options.register_custom_ops_library(str(library_path("dsa_onnxruntime")))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
