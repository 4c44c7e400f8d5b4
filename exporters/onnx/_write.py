"""Write the graphs and their shared weights into a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from dsa_edge.exporters.methods import GRADIENTS, GROUPED, METHODS
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.onnx._data import ExternalData
from dsa_edge.exporters.onnx._graphs import GraphBuilder
from dsa_edge.manifest import TensorInfo

__all__ = ["DATA_FILE", "MethodInfo", "write_graphs"]

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
    grouped = GROUPED if model.decoder.spec.attention_group else ()
    for method in (*METHODS, *grouped, *(GRADIENTS if model.turned else ())):
        graph = builder.build(method)
        ir.save(graph, target / f"{method}.onnx")
        onnx.checker.check_model(str(target / f"{method}.onnx"))
        inputs, outputs = graph.graph.inputs, graph.graph.outputs
        methods[method] = (f"onnx/{method}.onnx", _tensors(inputs), _tensors(outputs))
    return methods


def _tensors(values: Any) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            value.name,
            _NAMES[int(value.dtype)],
            tuple(a if isinstance(a, int) else str(a.value) for a in value.shape),
        )
        for value in values
    )
