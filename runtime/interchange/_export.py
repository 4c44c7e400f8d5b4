"""An adapter of ours → a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter, write_atomic
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.kinds import MODULES
from dsa_edge.pruned import told
from dsa_edge.runtime.interchange._base import check_order
from dsa_edge.runtime.interchange._deltas import Delta, deltas
from dsa_edge.runtime.interchange._files import CONFIG, PEFT_WEIGHTS
from dsa_edge.runtime.interchange._import import acts_elsewhere
from dsa_edge.runtime.interchange._names import module_name

__all__ = ["Exported", "export_adapter", "new_folder"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the folder, its rank, linears and bytes, and what it cannot tell."""

    folder: Path
    rank: int
    linears: int
    bytes: int
    notes: tuple[str, ...]


def export_adapter(bundle: Bundle, adapter: Adapter, folder: str | Path) -> Exported:
    """Write an adapter of a bundle as a PEFT folder, which must be new or empty.

    Of kind `lora` to the bit; of `lora-frozen`, `core`, `diagonal`, `kron` and `columns` but for
    one rounding to float32. Raises AdapterError for other kinds, and for a base with weak columns.
    """
    from safetensors.numpy import save

    check_order(bundle)
    found = deltas(bundle, adapter)
    tensors = {}
    for delta in found:
        stem = f"base_model.model.{module_name(delta.layer, delta.target)}"
        tensors[f"{stem}.lora_A.weight"] = delta.a.astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = delta.b.astype(np.float32)
    place, rank = new_folder(folder), len(found[0].a)
    content = save(tensors, {"format": "pt"})
    config = json.dumps(_config(bundle, found, rank), indent=2).encode()
    write_atomic(place / PEFT_WEIGHTS, content)
    write_atomic(place / CONFIG, config + b"\n")
    return Exported(place, rank, len(found), len(content) + len(config), _notes(bundle, adapter))


def new_folder(folder: str | Path) -> Path:
    """A folder to write to, made when missing; raises AdapterError for one that holds something."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        filled = any(place.iterdir())
    except OSError as error:
        raise AdapterError(
            f"cannot write to {place} ({error.strerror}): choose another folder."
        ) from error
    if filled:
        raise AdapterError(f"{place} is not empty: choose a new folder.")
    return place


def _config(bundle: Bundle, found: list[Delta], rank: int) -> dict[str, Any]:
    """What PEFT needs to build the same linears; alpha is the rank, so the factor is 1."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": bundle.manifest.base.name,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [
            MODULES[t].rpartition(".")[2] for t in MODULES if any(d.target == t for d in found)
        ],
        "layers_to_transform": sorted({delta.layer for delta in found}),
        "layers_pattern": "layers",
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }


def _notes(bundle: Bundle, adapter: Adapter) -> tuple[str, ...]:
    manifest = bundle.manifest
    notes = [acts_elsewhere(manifest.adapter)]
    notes.append(
        f"it was learned on {manifest.base.name} in {manifest.base.quantization}: on another "
        "precision of the base it does nearly the same"
    )
    if manifest.pruned:
        notes.append(f"it was learned on {told(manifest.pruned)}, and fits no other base")
    if adapter.labels:
        notes.append(
            f"biases of the labels {', '.join(map(repr, adapter.labels))} have no place in PEFT: "
            "choices among them shift"
        )
    return tuple(notes)
