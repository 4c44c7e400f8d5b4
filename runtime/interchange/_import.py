"""A LoRA of PEFT, Unsloth or MLX-LM → an adapter of a bundle of kind `lora`.

Every tensor of the file must have a place in the bundle, or nothing is imported. Ours are
y += B A x, so a file's factor (alpha / r …) is multiplied into B. A smaller rank is filled up: B
with zeros, so that nothing is added, and A with the bundle's initial directions, so that a later
fit can use them. Rotary embeddings turn halves of a head in our decoder as in Hugging Face's, also
where the base came as GGUF (files of that format permute the rows of q and k, our reader turns them
back): no row changes its place.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import Adapter, AdapterSpec, Slot, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.kinds import MODULES
from dsa_edge.pruned import told
from dsa_edge.runtime.interchange._base import check_order
from dsa_edge.runtime.interchange._files import (
    Shape,
    read_config,
    read_shapes,
    read_tensors,
    weights,
)
from dsa_edge.runtime.interchange._names import Part, parse
from dsa_edge.runtime.interchange._rules import Rules, read_rules

__all__ = ["Imported", "Mapped", "import_adapter"]

SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Mapped:
    """Where a tensor went: its name in the file, ours, its shape there, and the factor on it."""

    key: str
    slot: str
    shape: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Imported:
    """What an import made, for this bundle alone.

    source: `PEFT` (also Unsloth's) or `MLX-LM`. notes: what the numbers cannot carry over.
    """

    adapter: Adapter
    source: str
    mapping: tuple[Mapped, ...]
    notes: tuple[str, ...]


def import_adapter(bundle: Bundle, folder: str | Path) -> Imported:
    """Read a LoRA of another library for a bundle of kind `lora`; nothing is written.

    Raises AdapterError naming every tensor, layer, target or rank that the bundle has no place for.
    """
    check_order(bundle)
    place = Path(folder)
    config, file = read_config(place), weights(place)
    rules, shapes = read_rules(place / "adapter_config.json", config), read_shapes(file)
    parts = _parts(file, shapes)
    _check_bundle(bundle, file, parts, shapes)
    _check_shapes(bundle, file, parts, shapes, rules)
    factors = {
        key: 1.0 if part.factor == "a" else rules.scale(part.module, _rank(part, shapes[key]))
        for key, part in parts.items()
    }
    vector = _filled(bundle, file, parts, factors)
    mapping = [Mapped(key, part.slot, shapes[key], factors[key]) for key, part in parts.items()]
    return Imported(Adapter(vector), rules.source, tuple(mapping), _notes(bundle, rules, parts))


def _parts(file: Path, shapes: dict[str, Shape]) -> dict[str, Part]:
    """Every tensor with its part, in the order of ours; each part once, and none alone."""
    found = {key: parse(key) for key in shapes}
    unknown = [key for key, part in found.items() if part is None]
    if unknown or not found:
        raise AdapterError(
            f"{file} holds {len(unknown)} of {len(found)} tensors that are no LoRA of a decoder's "
            f"linears ({_some(unknown)}), expected names like "
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight: train a plain LoRA of "
            "q, k, v, o, gate, up and down alone."
        )
    parts = {key: part for key, part in found.items() if part is not None}
    slots = Counter(part.slot for part in parts.values())
    twice = [slot for slot, count in slots.items() if count > 1]
    alone = [slot for slot in slots if slot[:-1] + {"a": "b", "b": "a"}[slot[-1]] not in slots]
    if twice or alone:
        raise AdapterError(
            f"{file} holds {_some(twice or alone)} {'twice' if twice else 'without its partner'}, "
            "expected A and B of every linear once: save the adapter again."
        )
    return dict(sorted(parts.items(), key=lambda item: (item[1].layer, item[1].slot)))


def _rank(part: Part, shape: Shape) -> int:
    """The rank that a tensor of shape (r, n_in) or (n_out, r), or turned around, has."""
    return shape[0] if (part.factor == "a") != part.transposed else shape[1]


def _check_bundle(
    bundle: Bundle, file: Path, parts: dict[str, Part], shapes: dict[str, Shape]
) -> None:
    """Refuse a bundle without a place for some linear, with the export that would have it."""
    manifest, slots = bundle.manifest, {slot.name for slot in bundle.manifest.slots}
    outside = [part.slot for part in parts.values() if part.slot not in slots]
    if manifest.adapter.kind == "lora" and not outside:
        return
    flat = [key for key, shape in shapes.items() if len(shape) != 2]
    if flat:
        raise _misshapen(file, flat[0], shapes[flat[0]], "a matrix")
    needed = max(part.layer for part in parts.values())
    if needed >= manifest.n_layers:
        raise AdapterError(
            f"{file} adapts layer {needed}, this bundle's base has {manifest.n_layers}: import it "
            "into a bundle of the model that it was trained on."
        )
    ranks = [_rank(part, shapes[key]) for key, part in parts.items()]
    targets = [t for t in MODULES if any(part.target == t for part in parts.values())]
    split = min(part.layer for part in parts.values()) / manifest.n_layers
    place = "" if manifest.adapter.kind != "lora" else f" and no place for {_some(outside)}"
    raise AdapterError(
        f"this bundle's adapter is of kind {manifest.adapter.kind}{place}, expected kind lora "
        f"with all {len(parts) // 2} linears of {file.parent}: export the base again with "
        f"`--adapter lora --rank {max(ranks)} --targets {','.join(targets)} --split {split:.3g}`."
    )


def _check_shapes(
    bundle: Bundle, file: Path, parts: dict[str, Part], shapes: dict[str, Shape], rules: Rules
) -> None:
    """Every tensor has the shape that its linear, its partner and the configuration want."""
    slots = {slot.name: slot for slot in bundle.manifest.slots}
    ranks: dict[str, int] = {}
    for key, part in parts.items():
        shape, slot = shapes[key], slots[part.slot]
        width = slot.shape[1] if part.factor == "a" else slot.shape[0]
        most = bundle.manifest.adapter.rank
        sides = ("r", width) if (part.factor == "a") != part.transposed else (width, "r")
        wanted = f"({sides[0]}, {sides[1]}) with 1 ≤ r ≤ {most}"
        if bundle.manifest.pruned:
            wanted += f", as this bundle has {told(bundle.manifest.pruned)}"
        if len(shape) != 2 or shape[1 - sides.index("r")] != width or _rank(part, shape) < 1:
            raise _misshapen(file, key, shape, wanted)
        rank = ranks.setdefault(part.slot[:-1], _rank(part, shape))
        stated = rules.rank_of(part.module)
        if rank != _rank(part, shape) or (stated is not None and stated != rank):
            raise _misshapen(
                file, key, shape, f"the rank of its partner ({rank}) and of the file ({stated})"
            )
        if rank > most:
            raise AdapterError(
                f"{file} has rank {rank} at {key!r}, this bundle's is {most}: export the base "
                f"again with --adapter lora --rank {rank}."
            )


def _misshapen(file: Path, key: str, shape: Shape, wanted: str) -> AdapterError:
    return AdapterError(
        f"{file} has shape {shape} at {key!r}, expected {wanted}: import it into a bundle of the "
        "model that it was trained on, or save the adapter again."
    )


def _filled(
    bundle: Bundle, file: Path, parts: dict[str, Part], factors: dict[str, float]
) -> NDArray[np.float32]:
    """The adapter's vector: the bundle's initial one, B zero, with the file's numbers put in."""
    manifest = bundle.manifest
    initial = bundle.path / "adapter.safetensors"
    size, pruned = manifest.adapter_size, manifest.pruned
    vector = load_adapter(initial, bundle.identity, size, pruned).vector.copy()
    places = {slot.name: (slot, view(vector, slot)) for slot in manifest.slots}
    for slot, place in places.values():
        if slot.name.endswith(".b"):
            place[:] = 0
    for key, values in read_tensors(file).items():
        part = parts[key]
        found = values.T if part.transposed else values
        with np.errstate(over="ignore"):
            scaled = found * np.float32(factors[key])
        if not np.isfinite(scaled).all():
            raise AdapterError(
                f"{file} holds numbers at {key!r} that are not finite, or too large with the "
                f"factor {factors[key]:g}: save the adapter again."
            )
        rows, columns = scaled.shape
        places[part.slot][1][:rows, :columns] = scaled
    return vector


def view(vector: NDArray[np.float32], slot: Slot) -> NDArray[np.float32]:
    """The part of a vector that a slot is, in its shape."""
    return vector[slot.offset : slot.offset + slot.size].reshape(slot.shape)


def _notes(bundle: Bundle, rules: Rules, parts: dict[str, Part]) -> tuple[str, ...]:
    ours = bundle.manifest.base.name
    notes = [acts_elsewhere(bundle.manifest.adapter)]
    if rules.base is not None and Path(rules.base).name != ours:
        notes.append(
            f"it was trained on {rules.base}, this bundle's base is called {ours}: the shapes fit, "
            "and whether the weights are the same no file tells"
        )
    unused = len(bundle.manifest.slots) // 2 - len(parts) // 2
    if unused:
        notes.append(
            f"{unused} linears that the bundle adapts are not in the file: they add nothing"
        )
    return tuple(notes)


def acts_elsewhere(spec: AdapterSpec) -> str:
    """What a LoRA of another library and an adapter of ours do not share."""
    return (
        "a LoRA of PEFT or MLX-LM acts on every token, an adapter here on the last "
        f"{spec.invocation} of the prompt and the response: answers differ from those of the "
        "library; `dsa-edge evaluate` tells how good they are"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
