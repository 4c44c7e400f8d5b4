"""Inputs to trace and to check programs on, and the bounds of their axes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from dsa_edge.exporters.adapters import Block, LayerBlocks
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.decoder import DecoderSpec
from dsa_edge.kernels.gated_lowrank import MAX_RANK
from dsa_edge.kinds import TARGETS

__all__ = [
    "HEAD_ROWS",
    "ROWS",
    "head_inputs",
    "layer_inputs",
    "slot_inputs",
    "traced_blocks",
    "with_blocks",
]

ROWS = 512  # of a layer program: 32 lanes of 16 examples; every layer keeps memory for so many
HEAD_ROWS = 64  # logits of so many rows are in memory at once
# Bounds of the other axes; none of them costs memory.
EXAMPLES, LANES, TOKENS, BLOCKS = 1024, 256, 2**17, 1024
EXAMPLE = {"lanes": 2, "batch": 3, "new": 4}

Inputs = tuple[Tensor, ...]


def head_inputs(spec: DecoderSpec) -> tuple[Inputs, Any]:
    """Hidden states, and the bound of their rows."""
    x = torch.rand(4, spec.width, generator=torch.Generator().manual_seed(0))
    return (x,), ({0: torch.export.Dim("rows", min=1, max=HEAD_ROWS)},)


def layer_inputs(spec: DecoderSpec, kind: str) -> tuple[Inputs, Any]:
    """Values of a layer program's inputs, with blocks of a kind, and the bounds of their axes."""
    given, dynamic = _rows(spec)
    blocks, bounds = traced_blocks(spec, kind)
    # torch.export sees the blocks as one argument, for a program takes them as `*blocks`
    return (*given, *blocks), (*dynamic, bounds)


def slot_inputs(spec: DecoderSpec, blocks: LayerBlocks) -> tuple[Inputs, Any]:
    """Values of the inputs of a layer program with blocks of its own, and their axes' bounds."""
    given, dynamic = _rows(spec)
    lanes = torch.export.Dim("lanes", min=1, max=LANES)
    frozen = [blocks.blocks.get_buffer(name) for name in blocks.frozen]
    bounds = ({0: lanes}, *({} for _ in frozen))
    return (*given, _slots(blocks), *frozen), (*dynamic, bounds)


def _slots(blocks: LayerBlocks) -> Tensor:
    size = sum(cast(Block, block).size for block in blocks.blocks.values())
    return torch.randn(EXAMPLE["lanes"], size, generator=torch.Generator().manual_seed(3)) * 0.1


def with_blocks(spec: DecoderSpec, kind: str, blocks: LayerBlocks | None) -> Inputs:
    """Values of a layer program's inputs with the factors of one layer, or with no blocks."""
    random, lanes = torch.Generator().manual_seed(1), EXAMPLE["lanes"]
    given: list[Tensor] = []
    for target in TARGETS:
        if blocks is None or target not in blocks.blocks:
            given += _no_blocks(spec, kind, target)
            continue
        block = cast(Core, blocks.blocks[target])
        core = torch.randn(lanes, *block.core_shape, generator=random) * 0.1
        given += [core, block.u, block.v]
    return (*_rows(spec)[0], *given)


def _no_blocks(spec: DecoderSpec, kind: str, target: str) -> list[Tensor]:
    n_out, n_in = spec.target_shape(target)
    core = torch.zeros(EXAMPLE["lanes"], 0, *_square(kind, 1))
    return [core, *(torch.zeros(shape).half() for shape in ((0, 1, n_out), (0, n_in, 1)))]


def traced_blocks(spec: DecoderSpec, kind: str) -> tuple[list[Tensor], tuple[Any, ...]]:
    """Core, u and v of every target, each with its own number of blocks and its own rank."""
    dim, random = torch.export.Dim, torch.Generator().manual_seed(2)
    lanes = dim("lanes", min=1, max=LANES)
    blocks: list[Tensor] = []
    bounds: list[dict[int, Any]] = []
    for target in TARGETS:
        n_out, n_in = spec.target_shape(target)
        n, r = 2, 3
        blocks.append(torch.rand(EXAMPLE["lanes"], n, *_square(kind, r), generator=random))
        blocks += [torch.rand(s, generator=random).half() for s in ((n, r, n_out), (n, n_in, r))]
        some = dim(f"blocks_{target}", min=0, max=BLOCKS)
        own = dim(f"factors_{target}", min=0, max=BLOCKS)  # one pair, if the blocks share it
        rank = dim(f"rank_{target}", min=1, max=MAX_RANK)
        core = {0: lanes, 1: some, 2: rank} | ({3: rank} if kind == "core" else {})
        bounds += [core, {0: own, 1: rank}, {0: own, 2: rank}]
    return blocks, tuple(bounds)


def _square(kind: str, rank: int) -> tuple[int, ...]:
    return (rank, rank) if kind == "core" else (rank,)


def _rows(spec: DecoderSpec) -> tuple[list[Tensor], list[dict[int, Any]]]:
    """Rows, caches, routes and active tokens."""
    lanes, batch, new = EXAMPLE.values()
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
        torch.zeros(batch, 2, dtype=torch.int64),
        torch.full((batch, 2), 0.5),
        torch.ones(batch, new, dtype=torch.bool),
    ]
    dim = torch.export.Dim
    rows = dim("rows", min=1, max=ROWS)
    examples, tokens = dim("examples", min=1, max=EXAMPLES), dim("tokens", min=1, max=ROWS)
    shared, past = dim("prefix", min=0, max=TOKENS), dim("past", min=0, max=TOKENS)
    angle, chosen = {0: examples, 1: tokens}, {0: examples, 1: dim("chosen", min=0, max=BLOCKS)}
    return values, [
        {0: rows}, angle, angle, {2: shared}, {2: shared},
        {0: examples, 2: past}, {0: examples, 2: past}, {0: examples}, chosen, chosen, angle,
    ]  # fmt: skip
