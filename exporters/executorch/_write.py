"""Write the programs of a model and their weights into a bundle.

Two forms of layer are lowered, with and without adapter (more where windows or weights differ), and
every layer is a data file for one of them. So the time of an export does not grow with the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dsa_edge.adapter import TARGETS
from dsa_edge.exporters.executorch._check import can_run, check_program
from dsa_edge.exporters.executorch._head import HeadProgram, per_row
from dsa_edge.exporters.executorch._layer import AdaptedProgram, BaseProgram
from dsa_edge.exporters.executorch._lower import Lowered, lower, lower_template
from dsa_edge.exporters.parts import AdaptedModel
from dsa_edge.manifest import ExecutorchInfo, ProgramInfo, TableInfo

__all__ = ["ROWS", "write_programs"]

ROWS = 512  # of a layer program: 32 lanes of 16 examples; every layer keeps memory for so many
HEAD_ROWS = 64  # logits of so many rows are in memory at once
EXAMPLES, LANES, TOKENS = 1024, 256, 2**17  # bounds of the other axes; none of them costs memory


def write_programs(
    model: AdaptedModel, folder: Path, on_part: Callable[[str], None]
) -> ExecutorchInfo:
    """Write `executorch/` under the bundle `folder`.

    on_part: called with the name of each part before it is made.
    Raises ExportError when ExecuTorch does not do what this exporter relies on.
    """
    target = folder / "executorch"
    target.mkdir()
    writer = _Writer(model, target, on_part)
    layers = tuple(writer.layer(index) for index in range(model.decoder.spec.n_layers))
    return writer.finish(layers)


class _Writer:
    def __init__(self, model: AdaptedModel, target: Path, on_part: Callable[[str], None]) -> None:
        self._model, self._target, self._on_part = model, target, on_part
        self._spec = model.decoder.spec
        self._lowered: dict[object, tuple[str, Lowered]] = {}
        self._operators: set[str] = set()
        self._outside = 0  # multiply-adds a row that XNNPACK does not run
        self._check = can_run()

    def layer(self, index: int) -> ProgramInfo:
        """One layer: a program of its form, lowered when first needed, and its data file."""
        program = self._program(index)
        form = self._form(index, program)
        if form not in self._lowered:
            adapted = isinstance(program, AdaptedProgram)
            name = f"{'adapted' if adapted else 'base'}_layer_{len(self._lowered)}.pte"
            self._on_part(name.removesuffix(".pte"))
            values, dynamic = example_values(self._model, adapted)
            lowered = lower_template(program, values, dynamic)
            (self._target / name).write_bytes(lowered.program)
            self._lowered[form] = name, lowered
            self._operators.update(lowered.operators)
        name, lowered = self._lowered[form]
        self._outside += lowered.outside
        data = f"layer_{index:03}.ptd"
        (self._target / data).write_bytes(lowered.with_weights(program))
        made = ProgramInfo(f"executorch/{name}", f"executorch/{data}", self._spec.frame_of(index))
        if self._check:
            values, _ = example_values(self._model, isinstance(program, AdaptedProgram))
            check_program(self._target.parent, made, program, values)
        return made

    def finish(self, layers: tuple[ProgramInfo, ...]) -> ExecutorchInfo:
        """Head, embedding and the small tables."""
        self._on_part("head")
        decoder, spec = self._model.decoder, self._spec
        head = HeadProgram(decoder.top)
        x = torch.rand(4, spec.width)
        lowered = lower(head, (x,), ({0: torch.export.Dim("rows", min=1, max=HEAD_ROWS)},))
        self._outside += lowered.outside
        (self._target / "head.pte").write_bytes(lowered.program)
        (self._target / "head.ptd").write_bytes(lowered.data)
        self._operators.update(lowered.operators)
        made = ProgramInfo("executorch/head.pte", "executorch/head.ptd")
        if self._check:
            check_program(self._target.parent, made, head, (x,))
        codes, scales = per_row(decoder.top.table)
        table = self._located("head.ptd", codes)
        embedding, embedding_scales = table, scales
        if decoder.top.table is not decoder.embedding:
            own, embedding_scales = per_row(decoder.embedding)
            (self._target / "embedding.bin").write_bytes(own.numpy().tobytes())
            embedding = self._located("embedding.bin", own)
        self._write_small(scales, embedding_scales)
        return ExecutorchInfo(
            version=version("executorch"),
            rows=ROWS,
            head_rows=HEAD_ROWS,
            layer_size=self._model.size // (spec.n_layers - self._model.split),
            layers=layers,
            head=made,
            ends="executorch/ends.safetensors",
            embedding=embedding,
            head_table=table,
            operators=tuple(sorted(self._operators)),
            delegated=1 - self._outside / self._products(),
        )

    def _products(self) -> int:
        """Multiply-adds a row of the base's products, head included."""
        spec = self._spec
        layer = sum(math.prod(spec.target_shape(target)) for target in TARGETS)
        return spec.n_layers * layer + spec.vocab_size * spec.width

    def _program(self, index: int) -> BaseProgram:
        layer, window = (
            self._model.decoder.layer(index),
            self._spec.frames[self._spec.frame_of(index)][1],
        )
        if index < self._model.split:
            return BaseProgram(layer, window)
        return AdaptedProgram(layer, window, self._model.layer_blocks(index))

    def _form(self, index: int, program: nn.Module) -> object:
        """Layers of one form run the same program with other weights."""
        buffers = tuple((k, b.dtype, b.shape) for k, b in program.named_buffers())
        return self._spec.frames[self._spec.frame_of(index)][1], type(program), buffers

    def _located(self, name: str, codes: Tensor) -> TableInfo:
        """Where in a file the rows of a table lie."""
        offset = (self._target / name).read_bytes().index(codes.numpy().tobytes())
        return TableInfo(f"executorch/{name}", offset, *codes.shape)

    def _write_small(self, head: Tensor, embedding: Tensor) -> None:
        from safetensors.numpy import save_file

        decoder = self._model.decoder
        small: dict[str, Any] = {
            "final_norm": decoder.top.norm.gain.numpy(),
            "head_scales": head.numpy(),
            "embedding_scales": embedding.numpy(),
        }
        for index, factor in enumerate(decoder.frames.factors):
            small[f"frequencies_{index}"] = decoder.frames.get_buffer(
                f"frequencies_{index}"
            ).numpy()
            small[f"factor_{index}"] = np.array(factor, dtype=np.float32)
        save_file(small, self._target / "ends.safetensors")


def example_values(model: AdaptedModel, adapted: bool) -> tuple[tuple[Tensor, ...], Any]:
    """Values to trace a layer program on, and the bounds of its axes."""
    spec, lanes, batch, new = model.decoder.spec, 2, 3, 4
    rotated = round(spec.head_dim * spec.rope.fraction)
    random = torch.Generator().manual_seed(0)

    def floats(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    cache = batch, spec.n_kv_heads, 5, spec.head_dim
    prefix = 1, spec.n_kv_heads, 6, spec.head_dim
    values = [
        floats(lanes * batch * new, spec.width),
        *(floats(batch, new, rotated) for _ in range(2)),
        *(floats(*prefix).half() for _ in range(2)),
        *(floats(*cache).half() for _ in range(2)),
        torch.tensor([5, 2, 0]),
    ]
    dim = torch.export.Dim
    rows = dim("rows", min=1, max=ROWS)
    examples, tokens = dim("examples", min=1, max=EXAMPLES), dim("tokens", min=1, max=ROWS)
    shared, past = dim("prefix", min=0, max=TOKENS), dim("past", min=0, max=TOKENS)
    angle = {0: examples, 1: tokens}
    dynamic: list[dict[int, Any]] = [
        {0: rows}, angle, angle, {2: shared}, {2: shared},
        {0: examples, 2: past}, {0: examples, 2: past}, {0: examples},
    ]  # fmt: skip
    if adapted:
        size = model.size // (spec.n_layers - model.split)
        values += [
            floats(lanes, size), torch.zeros(batch, 1, dtype=torch.int64), torch.ones(batch, 1),
            torch.ones(batch, new, dtype=torch.bool),
        ]  # fmt: skip
        dynamic += [{0: dim("lanes", min=1, max=LANES)}, {0: examples}, {0: examples}, angle]
    return tuple(values), tuple(dynamic)
