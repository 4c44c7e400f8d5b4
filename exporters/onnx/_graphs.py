"""The methods as ONNX graphs: chains of function calls, one function a part.

A graph holds no weight itself; all four share one external-data file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from torch import nn

from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.onnx._data import ExternalData
from dsa_edge.exporters.onnx._ops import MICROSOFT, OPSET
from dsa_edge.exporters.onnx._signatures import (
    METHOD_OUTPUTS,
    example_values,
    fixed_axes,
    method_inputs,
)
from dsa_edge.exporters.onnx._trace import Part, trace
from dsa_edge.kernels.onnx_attention import attend_cache_function
from dsa_edge.kernels.onnx_function import (
    DOMAIN,
    add_offsets_function,
    gated_lowrank_function,
)

__all__ = ["GraphBuilder"]

IR_VERSION = 10  # the newest that ONNX Runtime 1.23, the last for Python 3.10, reads
_TYPES = {"i8": ir.DataType.INT64, "f2": ir.DataType.FLOAT16, "": ir.DataType.FLOAT}


class GraphBuilder:
    """Builds the method graphs of one model; parts are traced when first needed.

    on_part: called with the name of each part before it is traced.
    """

    def __init__(
        self,
        model: AdaptedModel,
        data: ExternalData,
        accuracy_level: int,
        on_part: Callable[[str], None],
    ) -> None:
        self.spec, self.data, self.split = model.decoder.spec, data, model.split
        self.invocation = model.adapter.invocation
        self.fixed = fixed_axes(self.spec, model.size, self.split)
        self._level, self._on_part = accuracy_level, on_part
        self._kind, self._gated = model.adapter.kind, model.adapter.blocks > 1
        self._whole, self._layers = model.parts()
        self._traced: dict[tuple[object, ...], Part] = {}

    def build(self, method: str) -> ir.Model:
        """One method as a model."""
        caller = _OnnxCaller(self)
        spec = self.spec
        frame_of = tuple(spec.frame_of(i) for i in range(spec.n_layers))
        chains = Chains(caller, spec.n_layers, self.split, self.invocation, frame_of)
        wanted = method_inputs(method, self._gated)
        inputs = [self._declare(k, text) for k, text in wanted.items()]
        results = getattr(chains, method)(*inputs)
        outputs = [self._name_output(results[k], k, t) for k, t in METHOD_OUTPUTS[method].items()]
        opsets = {"": OPSET, MICROSOFT: 1, DOMAIN: 1}
        graph = ir.Graph(
            inputs, outputs, nodes=caller.nodes, initializers=list(caller.initializers.values()),
            opset_imports=opsets, name=method,
        )  # fmt: skip
        functions = [part.function.clone() for part in caller.used.values()]
        called = {node.op_type for function in functions for node in function}
        bodies = [made() for name, made in self._bodies().items() if name in called]
        functions += [ir.serde.deserialize_function(body) for body in bodies]
        return ir.Model(graph, ir_version=IR_VERSION, functions=functions, producer_name="dsa-edge")

    def _bodies(self) -> dict[str, Callable[[], onnx.FunctionProto]]:
        """What runs where our kernels do not, by name."""
        windows = any(window is not None for _, window in self.spec.frames)
        softcap = self.spec.attention_softcap is not None
        return {
            "add_offsets": add_offsets_function,
            "attend_cache": lambda: attend_cache_function(softcap, windows),
            "gated_lowrank": lambda: gated_lowrank_function(self._kind, self._gated),
        }

    def part(self, name: str, layer: int | None) -> tuple[Part, nn.Module]:
        """A traced part; layers whose weights have the same form share one trace."""
        module = self._whole[name] if layer is None else self._layers[layer][name]
        form = tuple((k, b.dtype, b.shape) for k, b in module.named_buffers())
        key = (name, form, getattr(module, "window", None))
        if key not in self._traced:
            self._on_part(name)
            copies = sum(1 for other in self._traced if other[0] == name)
            unique = name if not copies else f"{name}_{copies + 1}"
            values, dynamic = example_values(
                name, self.fixed, len(self.spec.frames), self.invocation, self._gated
            )
            self._traced[key] = trace(unique, module, values, dynamic, self._level)
        return self._traced[key], module

    def _declare(self, name: str, text: str) -> ir.Value:
        axes, _, kind = text.partition(":")
        shape = [self.fixed.get(axis, axis) for axis in axes.split()]
        shape = [self.spec.n_layers if axis == "N" else axis for axis in shape]
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(_TYPES[kind]))

    def _name_output(self, value: ir.Value, name: str, text: str) -> ir.Value:
        declared = self._declare(name, text)
        value.name, value.shape, value.type = name, declared.shape, declared.type
        return value


class _OnnxCaller:
    """Runs chains on graph values: every call becomes a node."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.nodes: list[ir.Node] = []
        self.used: dict[str, Part] = {}
        self.initializers: dict[str, ir.Value] = {}
        self._zeros: dict[ir.Value, ir.Value] = {}

    def call(self, part: str, layer: int | None, *values: ir.Value) -> tuple[ir.Value, ...]:
        traced, module = self.builder.part(part, layer)
        self.used[traced.function.name] = traced
        weights = [self._weight(module.get_buffer(name)) for name in traced.weights]
        return self._node(DOMAIN, traced.function.name, [*values, *weights], traced.outputs)

    def stack(self, values: list[ir.Value]) -> ir.Value:
        first = self._constant("first_axis", np.array([0]))
        rows = [self._node("", "Unsqueeze", [value, first])[0] for value in values]
        joined = self._node("", "Concat", rows, attributes={"axis": 0})[0]
        return self._node("", "Cast", [joined], attributes={"to": int(ir.DataType.FLOAT16)})[0]

    def pick(self, value: ir.Value, index: int, after: ir.Value | None = None) -> ir.Value:
        at = self.number(index)
        if after is not None:
            at = self._node("", "Add", [at, self._zero(after)])[0]
        return self._node("", "Gather", [value, at], attributes={"axis": 0})[0]

    def _zero(self, after: ir.Value) -> ir.Value:
        """Zero as an integer that takes a value (L, B, T, D) to be known: its length, at most 0."""
        if after not in self._zeros:
            length = self._node("", "Shape", [after], attributes={"start": 2, "end": 3})[0]
            scalar = self._node("", "ReduceMin", [length], attributes={"keepdims": 0})[0]
            self._zeros[after] = self._node("", "Min", [scalar, self.number(0)])[0]
        return self._zeros[after]

    def split(self, value: ir.Value, parts: int) -> list[ir.Value]:
        attributes = {"axis": 1, "num_outputs": parts}
        return list(self._node("", "Split", [value], parts, attributes))

    def join(self, values: list[ir.Value], axis: int = 1) -> ir.Value:
        return self._node("", "Concat", values, attributes={"axis": axis})[0]

    def number(self, value: int) -> ir.Value:
        return self._constant(f"index_{value}", np.array(value))

    def _node(
        self,
        domain: str,
        kind: str,
        inputs: list[ir.Value],
        outputs: int = 1,
        attributes: dict[str, Any] | None = None,
    ) -> tuple[ir.Value, ...]:
        wrapped = [ir.AttrInt64(k, v) for k, v in (attributes or {}).items()]
        name = f"{kind}_{len(self.nodes)}"
        node = ir.Node(domain, kind, inputs, wrapped, num_outputs=outputs, name=name)
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.{index}"
        self.nodes.append(node)
        return tuple(node.outputs)

    def _weight(self, buffer: Any) -> ir.Value:
        tensor = self.builder.data.tensor(buffer)
        return self._initializer(tensor.name or "", tensor)

    def _constant(self, name: str, value: np.ndarray) -> ir.Value:
        return self._initializer(name, ir.tensor(value.astype(np.int64), name=name))

    def _initializer(self, name: str, tensor: Any) -> ir.Value:
        if name not in self.initializers:
            value = ir.Value(
                name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.initializers[name] = value
        return self.initializers[name]
