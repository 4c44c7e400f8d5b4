"""Write the programs of a model and their weights into a bundle.

One form of layer is lowered (more where windows or weights differ), and every layer is a data file
for it. So the time of an export does not grow with the depth, and since the adapter's blocks are
inputs, another adapter needs no other program.
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

from dsa_edge.exporters.adapters import BLOCKS
from dsa_edge.exporters.executorch._check import can_run, check_program
from dsa_edge.exporters.executorch._head import HeadProgram, per_row
from dsa_edge.exporters.executorch._keep import form_of, lowered
from dsa_edge.exporters.executorch._layer import LayerProgram
from dsa_edge.exporters.executorch._lower import Lowered
from dsa_edge.exporters.executorch._values import (
    HEAD_ROWS,
    ROWS,
    head_inputs,
    layer_inputs,
    slot_inputs,
    with_blocks,
)
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.kinds import TARGETS
from dsa_edge.manifest import ExecutorchInfo, ProgramInfo, TableInfo

__all__ = ["write_programs"]


def write_programs(
    model: AdaptedModel,
    folder: Path,
    on_part: Callable[[str], None],
    kept: Path | None = None,
) -> ExecutorchInfo:
    """Write `executorch/` under the bundle `folder`.

    on_part: called with the name of each part before it is made.
    kept: folder of programs that were lowered before, and where new ones are kept.
    Raises ExportError when ExecuTorch does not do what this exporter relies on.
    """
    target = folder / "executorch"
    target.mkdir()
    writer = _Writer(model, target, on_part, kept)
    layers = tuple(writer.layer(index) for index in range(model.decoder.spec.n_layers))
    return writer.finish(layers)


class _Writer:
    def __init__(
        self, model: AdaptedModel, target: Path, on_part: Callable[[str], None], kept: Path | None
    ) -> None:
        self._model, self._target, self._on_part, self._kept = model, target, on_part, kept
        self._spec = model.decoder.spec
        self._own = not BLOCKS[model.adapter.kind].gated  # programs of the kind's own
        self._kind = "core" if self._own else model.adapter.kind
        self._lowered: dict[str, tuple[str, Lowered]] = {}
        self._operators: set[str] = set()
        self._outside = 0  # multiply-adds a row that XNNPACK does not run
        self._check = can_run()

    def layer(self, index: int) -> ProgramInfo:
        """One layer: a program of its form, lowered when first needed, and its data file."""
        frame = self._spec.frame_of(index)
        blocks = None if index < self._model.split else self._model.layer_blocks(index)
        own = blocks if self._own else None
        program = LayerProgram(self._model.decoder.layer(index), self._spec.frames[frame][1], own)
        traced = slot_inputs(self._spec, own) if own else layer_inputs(self._spec, self._kind)
        data = f"layer_{index:03}.ptd"
        made = self._write(f"layer_form_{len(self._lowered)}", data, program, traced, frame)
        if self._check:
            values = traced[0] if own else with_blocks(self._spec, self._kind, blocks)
            check_program(self._target.parent, made, program, values)
        return made

    def _write(
        self, name: str, data: str, module: nn.Module, traced: tuple[Any, Any], frame: int = 0
    ) -> ProgramInfo:
        """A module's program, unless there is one of its form, and its data file."""
        form = form_of(module, *traced)
        if form not in self._lowered:
            self._on_part(name)
            made, file = lowered(module, *traced, form, self._kept), f"{name}.pte"
            (self._target / file).write_bytes(made.program)
            self._lowered[form] = file, made
            self._operators.update(made.operators)
        file, made = self._lowered[form]
        self._outside += made.outside
        (self._target / data).write_bytes(made.with_weights(module))
        return ProgramInfo(f"executorch/{file}", f"executorch/{data}", frame)

    def finish(self, layers: tuple[ProgramInfo, ...]) -> ExecutorchInfo:
        """Head, embedding, the adapter's factors and the small tables."""
        decoder, spec = self._model.decoder, self._spec
        head, traced = HeadProgram(decoder.top), head_inputs(spec)
        made = self._write("head", "head.ptd", head, traced)
        if self._check:
            check_program(self._target.parent, made, head, traced[0])
        codes, scales = per_row(decoder.top.table)
        table = self._located("head.ptd", codes)
        embedding, embedding_scales = table, scales
        if decoder.top.table is not decoder.embedding:
            own, embedding_scales = per_row(decoder.embedding)
            (self._target / "embedding.bin").write_bytes(own.numpy().tobytes())
            embedding = self._located("embedding.bin", own)
        self._write_small(scales, embedding_scales)
        self._write_factors()
        return ExecutorchInfo(
            version=version("executorch"),
            rows=ROWS,
            head_rows=HEAD_ROWS,
            layers=layers,
            head=made,
            ends="executorch/ends.safetensors",
            factors="executorch/factors.safetensors",
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

    def _write_factors(self) -> None:
        """What is frozen of every block, by name, and u and v of no blocks."""
        from safetensors.torch import save_file

        factors = {
            f"layers.{layer}.{name.removeprefix('blocks.')}": buffer
            for layer in range(self._model.split, self._spec.n_layers)
            for name, buffer in self._model.layer_blocks(layer).named_buffers()
        }
        for target in TARGETS:
            n_out, n_in = self._spec.target_shape(target)
            rank = 1 if self._own else self._model.adapter.rank
            factors[f"none.{target}.u"] = torch.empty(0, rank, n_out, dtype=torch.float16)
            factors[f"none.{target}.v"] = torch.empty(0, n_in, rank, dtype=torch.float16)
        save_file(factors, self._target / "factors.safetensors")
