"""Write the graphs and their shared weights into a bundle; read the weights back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from dsa_edge.exporters.methods import GRADIENTS, METHODS
from dsa_edge.exporters.onnx._data import ExternalData
from dsa_edge.exporters.onnx._graphs import GraphBuilder
from dsa_edge.exporters.parts import AdaptedModel
from dsa_edge.manifest import TensorInfo

__all__ = ["DATA_FILE", "MethodInfo", "read_weights", "write_graphs"]

DATA_FILE = "base.onnx_data"
_NAMES = {1: "float32", 7: "int64", 10: "float16"}

MethodInfo = tuple[str, tuple[TensorInfo, ...], tuple[TensorInfo, ...]]


def write_graphs(
    model: AdaptedModel, folder: Path, accuracy_level: int, on_part: Callable[[str], None]
) -> dict[str, MethodInfo]:
    """Write `onnx/*.onnx` and `onnx/base.onnx_data` under the bundle `folder`.

    on_part: called with the name of each part before it is traced.
    Returns the manifest's entry for each method: file, inputs, outputs.
    """
    target = folder / "onnx"
    target.mkdir()
    builder = GraphBuilder(model, ExternalData(target / DATA_FILE, model), accuracy_level, on_part)
    methods = {}
    for method in (*METHODS, *(GRADIENTS if model.turned else ())):
        graph = builder.build(method)
        ir.save(graph, target / f"{method}.onnx")
        onnx.checker.check_model(str(target / f"{method}.onnx"))
        inputs, outputs = graph.graph.inputs, graph.graph.outputs
        methods[method] = (f"onnx/{method}.onnx", _tensors(inputs), _tensors(outputs))
    return methods


def read_weights(folder: Path) -> dict[str, NDArray[Any]]:
    """All weights of a bundle by buffer name, memory-mapped from the shared file."""
    weights: dict[str, NDArray[Any]] = {}
    for method in METHODS:
        graph = onnx.load(folder / "onnx" / f"{method}.onnx", load_external_data=False).graph
        for tensor in graph.initializer:
            if tensor.name not in weights and tensor.external_data:
                weights[tensor.name] = _mapped(folder / "onnx", tensor)
    return weights


def _mapped(folder: Path, tensor: onnx.TensorProto) -> NDArray[Any]:
    entry = {item.key: item.value for item in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.memmap(
        folder / entry["location"], dtype, "c", int(entry["offset"]), tuple(tensor.dims)
    )


def _tensors(values: Any) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            value.name,
            _NAMES[int(value.dtype)],
            tuple(a if isinstance(a, int) else str(a.value) for a in value.shape),
        )
        for value in values
    )
