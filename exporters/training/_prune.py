"""Early pruning of a base before its export: learn or rank, choose, cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import UsageError
from dsa_edge.exporters.adapters import BLOCKS
from dsa_edge.exporters.adapters.core import Core
from dsa_edge.exporters.checkpoint import Checkpoint, tokenizer_info
from dsa_edge.exporters.decoder import QuantizedWeight, build_decoder
from dsa_edge.exporters.decoder._build import WeightSource
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.training._choose import choose, most
from dsa_edge.exporters.training._cut import Cut, PrunedSource
from dsa_edge.exporters.training._learn import learn
from dsa_edge.exporters.training._pruning import Pruning
from dsa_edge.exporters.training._texts import Sentence, examples_of, sentences
from dsa_edge.exporters.training._units import Importance, Units
from dsa_edge.kinds import TARGETS
from dsa_edge.pruned import BLOCK, Pruned
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Thinned", "measure", "prune"]

Detail = Callable[[str], object]


@dataclass(frozen=True)
class Thinned:
    """A pruned base, the adapter that fits it, and what is told of both.

    source: of the pruned weights; adapter: without the targets and directions that were dropped.
    """

    source: WeightSource
    adapter: AdapterSpec
    pruned: Pruned
    _before: WeightSource
    _rank: int
    _cut: Cut

    def add_blocks(self, model: AdaptedModel, layer: int) -> None:
        """Give a layer of the pruned model its frozen buffers.

        Cores lie between the directions of the weight before, cut as the weight is, so that what is
        learned means the same on the base before. Other kinds start from the pruned weight.
        """
        if not issubclass(BLOCKS[self.adapter.kind], Core):
            model.add_blocks(layer)
            return
        frozen = {}
        for point in self.adapter.points:
            name = f"layers.{layer}.{point}"
            whole = Core.frozen(_dense(self._before.weight(name)), self._rank)
            kept = self.pruned.directions.get(name)
            frozen[point] = self._cut.factors(layer, point, whole, kept)
        model.set_blocks(layer, frozen)


def prune(
    source: Checkpoint,
    adapter: AdapterSpec,
    pruning: Pruning,
    on_detail: Detail = lambda _: None,
) -> Thinned:
    """Choose what a task needs least of a base and its adapter, and leave it out.

    on_detail: called with what is being done.
    Raises UsageError when the share cannot be reached, ExampleError for examples that cannot be
    learned from, ExportError when learning fails.
    """
    spec = source.spec
    units = Units.of(spec)
    pairs = units.candidates(pruning.share, pruning.kv_groups)  # refuses before anything is learned
    _check_ranks(adapter, pruning)
    importance = pruning.known or measure(source, adapter, pruning, on_detail)
    groups, blocks = _chosen(source, adapter, pruning, importance, pairs, on_detail)
    cut = Cut(
        spec, most(importance.kv, units.kv_groups - groups),
        most(importance.ffn, units.ffn_blocks - blocks),
    )  # fmt: skip
    thinner = _thinner(adapter, pruning, importance)
    kept = _directions(importance.directions, thinner) if thinner.rank < adapter.rank else {}
    pruned = Pruned(
        units.share(groups, blocks), pruning.by, spec.n_kv_heads, spec.ffn_width, cut.kv_groups,
        cut.ffn_blocks, adapter.targets if thinner.targets != adapter.targets else (), kept,
    )  # fmt: skip
    thinner.check(cut.pruned.geometry)
    return Thinned(PrunedSource(source, cut), thinner, pruned, source, adapter.rank, cut)


def _chosen(
    source: Checkpoint,
    adapter: AdapterSpec,
    pruning: Pruning,
    importance: Importance,
    pairs: list[tuple[int, int]],
    on_detail: Detail,
) -> tuple[int, int]:
    """Tried where there are examples, else the pair whose units have the least importance."""
    if len(pairs) == 1 or pruning.by != "learned" or not pruning.examples:
        return min(pairs, key=lambda pair: importance.cost(*pair))
    model = AdaptedModel(build_decoder(source, "none"), adapter).eval()
    return choose(model, importance, pairs, _sentences(source, pruning), on_detail)


def _sentences(source: Checkpoint, pruning: Pruning) -> list[Sentence]:
    tokenizer = Tokenizer(source.tokenizer_json, tokenizer_info(source), source.chat_template)
    return sentences(examples_of(pruning, tokenizer), tokenizer)


def measure(
    source: Checkpoint,
    adapter: AdapterSpec,
    pruning: Pruning,
    on_detail: Detail = lambda _: None,
) -> Importance:
    """What dropping each unit, target and direction would cost, ranked as a caller wants it."""
    if pruning.by == "random":
        return _random(source, pruning.seed)
    if pruning.by == "magnitude":
        return _magnitude(source, on_detail)
    given = _sentences(source, pruning)
    on_detail("base in float32")
    model = AdaptedModel(build_decoder(source, "none"), adapter).eval()
    for layer in range(model.split, source.spec.n_layers):
        on_detail(f"adapter of layer {layer}")
        model.add_blocks(layer)
    return learn(model, given, pruning, on_detail)


def _random(source: WeightSource, seed: int) -> Importance:
    """Any units: what a choice has to beat."""
    units, random = Units.of(source.spec), np.random.default_rng(seed)
    kv = random.random((source.spec.n_layers, units.kv_groups)) * units.group_weights
    ffn = random.random((source.spec.n_layers, units.ffn_blocks)) * units.block_weights
    return Importance(kv, ffn)


def _magnitude(source: WeightSource, on_detail: Detail) -> Importance:
    """The squared weights of each unit: no example is looked at."""
    spec = source.spec
    kv, ffn = [], []
    for layer in range(spec.n_layers):
        on_detail(f"magnitudes of layer {layer}")
        squares = {t: _dense(source.weight(f"layers.{layer}.{t}")).double() ** 2 for t in TARGETS}
        rows = {t: squares[t].sum(1) for t in ("q", "k", "v", "gate", "up")}
        rows |= {t: squares[t].sum(0) for t in ("o", "down")}
        heads = [rows[t].view(spec.n_kv_heads, -1).sum(1) for t in ("q", "k", "v", "o")]
        neurons = [rows[t].view(-1, BLOCK).sum(1) for t in ("gate", "up", "down")]
        kv.append(torch.stack(heads).sum(0))
        ffn.append(torch.stack(neurons).sum(0))
    return Importance(torch.stack(kv).numpy(), torch.stack(ffn).numpy())


def _check_ranks(adapter: AdapterSpec, pruning: Pruning) -> None:
    if pruning.ranks and not issubclass(BLOCKS[adapter.kind], Core):
        raise UsageError(
            f"ranks can be pruned of core and diagonal, whose directions are the weights' own, got "
            f"{adapter.kind}: leave --prune-ranks out, or lower --rank."
        )
    if pruning.ranks and adapter.blocks > 1:
        raise UsageError(
            f"ranks can be pruned of one block, whose directions are measured, got "
            f"{adapter.blocks}: leave --prune-ranks out, or --blocks."
        )


def _thinner(adapter: AdapterSpec, pruning: Pruning, importance: Importance) -> AdapterSpec:
    """The adapter without its least important targets, and of the rank that is left."""
    dropped = math.floor(pruning.modules * len(adapter.targets))
    ranked = sorted(adapter.points, key=lambda point: importance.targets.get(point, 0.0))
    targets = tuple(t for t in adapter.targets if t not in ranked[:dropped])
    rank = max(1, adapter.rank - math.floor(pruning.ranks * adapter.rank))
    return replace(adapter, targets=targets, rank=rank)


def _directions(
    importance: Mapping[str, NDArray[np.float64]], adapter: AdapterSpec
) -> dict[str, tuple[int, ...]]:
    """The most important directions of every slot that is left."""
    return {
        name: most(scores[None], adapter.rank)[0]
        for name, scores in importance.items()
        if name.split(".")[2] in adapter.targets
    }


def _dense(weight: QuantizedWeight | NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(weight.dense() if isinstance(weight, QuantizedWeight) else weight)
