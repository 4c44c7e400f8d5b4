"""Module → ExecuTorch program whose weights lie in a data file of their own.

The program is lowered once, on random weights, and runs with the weights of any layer of the same
form: a `.ptd` file is a table of named buffers, and `Lowered.with_weights` writes one with other
bytes under the same names. This file alone leans on how ExecuTorch names and packs weights;
`_check.py` runs every program beside its torch module at every export.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dsa_edge.errors import ExportError
from dsa_edge.exporters._quiet import quiet

__all__ = ["Lowered", "lower", "lower_template"]

TAG = "weights"
# What all layers share stays in the program: it is structure, not weights.
STRUCTURE = ("ones", "mean", "zeros")


@dataclass(frozen=True)
class Lowered:
    """A program, and the table of its weights.

    program: the `.pte` file.
    payload: ExecuTorch's `DataPayload`, the buffers of the weights that it was lowered with.
    names: weight → index of its buffer.
    operators: names of the ops that run outside XNNPACK.
    outside: numbers in the weights of products that run outside it, which is their multiply-adds a
    row.
    """

    program: bytes
    payload: Any
    names: dict[str, int]
    operators: tuple[str, ...]
    outside: int = 0

    @property
    def data(self) -> bytes:
        """The `.ptd` file of the weights that it was lowered with."""
        return bytes(_serializer().serialize(self.payload))

    @classmethod
    def read(
        cls, program: bytes, data: bytes, names: dict[str, int], operators: tuple[str, ...],
        outside: int,
    ) -> Lowered:  # fmt: skip
        """What was lowered before, from its files."""
        return cls(program, _serializer().deserialize(data), names, operators, outside)

    def without_weights(self) -> Lowered:
        """The same table with zeros in place of the weights: they say nothing, and compress."""
        buffers = list(self.payload.buffers)
        for index in self.names.values():
            buffers[index] = bytes(len(buffers[index]))
        return replace(self, payload=replace(self.payload, buffers=buffers))

    def with_weights(self, module: nn.Module) -> bytes:
        """The `.ptd` file of a module's weights, which has the form of the lowered one."""
        buffers = list(self.payload.buffers)
        for name, content in _contents(module).items():
            index = self.names[name]
            if len(buffers[index]) != len(content):
                raise ExportError(
                    f"{name} has another size than in the program: lower it by itself."
                )
            buffers[index] = content
        return bytes(_serializer().serialize(replace(self.payload, buffers=buffers)))


def lower_template(module: nn.Module, values: tuple[Tensor, ...], dynamic: Any) -> Lowered:
    """Lower a module on random weights, so that every buffer can be told from the others."""
    template = copy.deepcopy(module)
    random = torch.Generator().manual_seed(0)
    for name, buffer in template.named_buffers():
        if not name.endswith(STRUCTURE):
            buffer.copy_(_noise(name, buffer, random))
    return lower(template, values, dynamic)


def lower(module: nn.Module, values: tuple[Tensor, ...], dynamic: Any) -> Lowered:
    """Lower a module with the weights that it has; `dynamic` marks axes as torch.export does."""
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import (
            EdgeCompileConfig,
            ExecutorchBackendConfig,
            to_edge_transform_and_lower,
        )
        from executorch.exir.passes import MemoryPlanningPass
        from executorch.exir.passes.external_constants_pass import (
            delegate_external_constants_pass_unlifted,
        )

        traced = torch.export.export(module.eval(), values, dynamic_shapes=dynamic, strict=False)
        unlifted = traced.module()
        delegate_external_constants_pass_unlifted(unlifted, _tag)
        flat = _flat(dynamic)  # `*blocks` are arguments like others in what was traced
        tagged = torch.export.export(unlifted, values, dynamic_shapes=flat, strict=False)
        edge = to_edge_transform_and_lower(
            tagged,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )
        outside = _products_outside(edge.exported_program().graph)
        # Inputs stay the caller's: planned at their bounds, caches alone would take terabytes.
        planning = MemoryPlanningPass(alloc_graph_input=False)
        made = edge.to_executorch(
            ExecutorchBackendConfig(external_constants=_tag, memory_planning_pass=planning)
        )
        payload = _serializer().deserialize(made._tensor_data[TAG])
    return Lowered(made.buffer, payload, _names(module, payload), _operators(made), outside)


def _flat(dynamic: Any) -> tuple[Any, ...]:
    return tuple(d for each in dynamic for d in (each if isinstance(each, tuple) else (each,)))


def _tag(node: torch.fx.Node) -> str | None:
    """Which data file a constant goes to: none for structure."""
    return None if str(node.target).endswith(STRUCTURE) else TAG


def _names(module: nn.Module, payload: Any) -> dict[str, int]:
    """Find every weight among the buffers by its bytes.

    Raises ExportError when one is missing: ExecuTorch then packs weights in another way.
    """
    places = {bytes(buffer): index for index, buffer in enumerate(payload.buffers)}
    wanted = _contents(module)
    missing = [name for name, content in wanted.items() if content not in places]
    if missing:
        raise ExportError(
            f"ExecuTorch stores {missing[0]} in a layout that this dsa-edge does not know: install "
            "executorch 1.5."
        )
    return {name: places[content] for name, content in wanted.items()}


def _contents(module: nn.Module) -> dict[str, bytes]:
    """The bytes of every weight as XNNPACK's data has them."""
    return {
        name: _packed(name, buffer)
        for name, buffer in module.named_buffers()
        if not name.endswith(STRUCTURE)
    }


def _packed(name: str, buffer: Tensor) -> bytes:
    if name.endswith("codes") and buffer.dtype == torch.int8:
        unsigned = (buffer + 8).to(torch.uint8)
        buffer = unsigned[:, 0::2] | (unsigned[:, 1::2] << 4)
    elif name.endswith("scales"):
        buffer = buffer.bfloat16().view(torch.int16)
    return buffer.contiguous().numpy().tobytes()


def _noise(name: str, buffer: Tensor, random: torch.Generator) -> Tensor:
    if buffer.dtype == torch.int8:
        return torch.randint(-8, 8, buffer.shape, generator=random, dtype=torch.int8)
    noise = torch.rand(buffer.shape, generator=random) + 0.5
    return noise.bfloat16().to(buffer.dtype) if name.endswith("scales") else noise.to(buffer.dtype)


def _products_outside(graph: torch.fx.Graph) -> int:
    """Numbers in the weights of matrix products that no delegate has taken."""
    products = [
        node
        for node in graph.nodes
        if node.op == "call_function"
        and any(word in str(node.target) for word in ("aten.mm", "addmm", "aten.linear", "bmm"))
    ]
    # the weight is the last matrix that a product takes
    return sum(node.all_input_nodes[-1].meta["val"].numel() for node in products)


def _operators(made: Any) -> tuple[str, ...]:
    """Ops that the device must have besides the delegate, as its registry names them."""
    plan = made.executorch_program.execution_plan[0]
    return tuple(sorted(f"{op.name}.{op.overload}".rstrip(".") for op in plan.operators))


def _serializer() -> Any:
    with quiet():
        from executorch.extension.flat_tensor.serialize.serialize import (
            FlatTensorConfig,
            FlatTensorSerializer,
        )

    return FlatTensorSerializer(FlatTensorConfig(segment_alignment=64))
