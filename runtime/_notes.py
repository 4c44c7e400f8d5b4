"""What a report tells besides numbers: one sentence each, and none for what is as usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsa_edge.adapter import Slot
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = ["late", "of_allocation", "of_attention", "of_circumstances", "of_method"]


def of_method(hyper: Hyperparameters) -> tuple[str, ...]:
    """How steps were made, if not as usual."""
    usual = (hyper.estimator, hyper.optimizer) == ("antithetic", "adam")
    method = f"estimator {hyper.estimator}, optimizer {hyper.optimizer}"
    where = f"learned along {hyper.along} directions of the bundle's start"
    return (*(method,) * (not usual), *(where,) * (hyper.along > 0))


def of_attention(group: int | None, wanted: int | None, engine: str) -> tuple[str, ...]:
    """By what prompts were run, if not by full attention, or not as the bundle provides."""
    sparse = f"prompts were run by shifted sparse attention in groups of {group} tokens"
    lacking = (
        f"prompts are longer than the attention group of {wanted} tokens, and {engine} has full "
        "attention alone: learning from them on onnx is faster"
    )
    return (*(sparse,) * (group is not None), *(lacking,) * (wanted is not None and group is None))


def of_allocation(
    hyper: Hyperparameters, adapter: Floats, slots: Sequence[Slot]
) -> tuple[str, ...]:
    """Where the budget of numbers went: the layers that have most of an adapter (n,)."""
    if hyper.keep == 1:
        return ()
    layers: dict[str, int] = {}
    for slot in slots:
        layer = slot.name.split(".")[1]
        here = adapter[slot.offset : slot.offset + slot.size]
        layers[layer] = layers.get(layer, 0) + int(np.count_nonzero(here))
    first = sorted(layers, key=lambda layer: (-layers[layer], int(layer)))[:3]
    most = ", ".join(f"{layer} ({layers[layer]})" for layer in first)
    total = sum(layers.values())
    return (f"{total} of {adapter.size} numbers are left, most of them in layers {most}",)


def of_circumstances(alone: bool, from_storage: int) -> tuple[str, ...]:
    """What the fit had to do without: held-out examples, or memory for all layers."""
    few = "too few examples to hold any out: the verdict is about the training examples"
    slow = f"memory_mb holds the base but for {from_storage} layers, which came from storage"
    return (*(few,) * alone, *(slow,) * (from_storage > 0))


def late(given: int, used: int) -> tuple[str, ...]:
    """Examples that there was no time for."""
    out = f"the time allowed is enough for {used} of {given} examples; the others are left out"
    return (out,) * (used < given)
