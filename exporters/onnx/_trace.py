"""One part of the decoder → one ONNX function whose weights are inputs.

Tracing with the weights as inputs, not constants, is what lets one trace serve every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from dsa_edge.exporters._quiet import quiet
from dsa_edge.exporters.onnx._ops import MICROSOFT, OPSET, translations
from dsa_edge.kernels.onnx_function import DOMAIN

__all__ = ["Part", "trace"]


@dataclass(frozen=True)
class Part:
    """A traced part: its function, the names of its weights in input order, and its outputs."""

    function: ir.Function
    weights: tuple[str, ...]
    outputs: int


class _Functional(nn.Module):
    """Calls a module with weights that come as arguments."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names, self.module = names, [module]  # in a list: its buffers must not be found

    def forward(self, values: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> Any:
        state = dict(zip(self.names, weights, strict=True))
        return torch.func.functional_call(self.module[0], state, values)


def trace(
    name: str, module: nn.Module, values: tuple[Tensor, ...], dynamic: tuple[dict[int, Any], ...],
    accuracy_level: int,
) -> Part:  # fmt: skip
    """Trace a part on example values; `dynamic` marks the axes that vary, as torch.export does."""
    state = dict(module.named_buffers())
    names = tuple(state)
    with quiet():
        program = torch.onnx.export(
            _Functional(module, names).eval(),
            (values, tuple(state.values())),
            dynamic_shapes=(dynamic, tuple({} for _ in names)),
            custom_translation_table=translations(accuracy_level),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
        )
    assert program is not None
    graph = program.model.graph
    for value, weight in zip(graph.inputs[len(values) :], names, strict=True):
        value.name = weight
    _inline_constants(graph)
    for node in graph:
        node.metadata_props.clear()  # the tracer's stack traces: most of the file otherwise
    function = ir.Function(DOMAIN, name, graph=graph, attributes=[])
    function.opset_imports.update({"": OPSET, MICROSOFT: 1, DOMAIN: 1})
    return Part(function, names, len(graph.outputs))


def _inline_constants(graph: ir.Graph) -> None:
    """Functions cannot have initializers: the traced constants become Constant nodes."""
    for value in list(graph.initializers.values()):
        assert value.const_value is not None  # an initializer always has one
        attribute = ir.AttrTensor("value", value.const_value)
        node = ir.Node("", "Constant", [], [attribute], num_outputs=1)
        value.replace_all_uses_with(node.outputs[0])
        graph.insert_before(graph[0], node)
    graph.initializers.clear()
