"""One part of the decoder → one ONNX function whose weights are inputs.

Tracing with the weights as inputs, not constants, is what lets one trace serve every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.fx.experimental import _config as config
from torch.fx.experimental.proxy_tensor import make_fx

from dsa_edge.exporters._quiet import quiet
from dsa_edge.exporters.gradients import Backward
from dsa_edge.exporters.onnx._ops import MICROSOFT, OPSET, translations
from dsa_edge.kernels.onnx_function import DOMAIN

__all__ = ["Part", "trace"]

# Derivatives that are operators of their own in torch, and in ONNX are not.
DERIVATIVES = (
    "silu_backward", "gelu_backward", "tanh_backward", "threshold_backward",
    "_softmax_backward_data", "_log_softmax_backward_data", "slice_backward", "select_backward",
    "index_select_backward",
)  # fmt: skip


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
        called, given = _callable(module, names, values, tuple(state.values()))
        unchanging: tuple[Any, ...] = tuple({} for _ in names)
        backwards = isinstance(module, Backward)
        program = torch.onnx.export(
            called,
            given,
            dynamic_shapes=(*dynamic, *unchanging) if backwards else (dynamic, unchanging),
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


def _callable(
    module: nn.Module, names: tuple[str, ...], values: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
) -> tuple[nn.Module, tuple[Any, ...]]:  # fmt: skip
    """What to trace, and what to call it with.

    torch.export does not follow autograd: a part that runs it is first written out as the operators
    that it comes to, with sizes as symbols.
    """
    functional = _Functional(module, names).eval()
    if not isinstance(module, Backward):
        return functional, (values, weights)

    def flat(*given: Tensor) -> Any:
        return functional(given[: len(values)], given[len(values) :])

    both = (*values, *weights)
    aten = torch.ops.aten
    derivatives: Any = get_decompositions([getattr(aten, name) for name in DERIVATIVES])
    tracing = make_fx(flat, derivatives, "symbolic", _allow_non_fake_inputs=True)
    settings: Any = config
    with settings.patch(
        use_duck_shape=False
    ):  # axes that happen to be equally long are not the same
        return tracing(*both), both


def _inline_constants(graph: ir.Graph) -> None:
    """Functions cannot have initializers: the traced constants become Constant nodes."""
    for value in list(graph.initializers.values()):
        assert value.const_value is not None  # an initializer always has one
        attribute = ir.AttrTensor("value", value.const_value)
        node = ir.Node("", "Constant", [], [attribute], num_outputs=1)
        value.replace_all_uses_with(node.outputs[0])
        graph.insert_before(graph[0], node)
    graph.initializers.clear()
