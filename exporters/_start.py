"""Where users of a bundle begin: a learned start, or what leaves the base as it is."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from dsa_edge.adapter import Adapter, save_adapter
from dsa_edge.bundle import hash_file
from dsa_edge.exporters.checkpoint import Checkpoint
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.gate import check_gate
from dsa_edge.manifest import BaseInfo, FileEntry, Manifest, StartInfo, identity_of
from dsa_edge.pruned import Pruned
from dsa_edge.quantization import QuantizationInfo
from dsa_edge.start import DIRECTIONS, Start, save_directions

__all__ = ["check_start", "finish", "info_of"]


def check_start(
    learned: Start | None, source: Checkpoint, model: AdaptedModel, base: BaseInfo,
    pruned: Pruned | None, quantized: QuantizationInfo | None,
) -> None:  # fmt: skip
    """Refuse the start of another base or adapter before the graphs are written."""
    if learned is None:
        return
    learned.check_spec(model.adapter, base.sha256, model.size)
    digest = hashlib.sha256(source.tokenizer_json.encode()).hexdigest()
    decoder = asdict(model.decoder.spec)
    learned.check(identity_of(base, model.adapter, digest, decoder, pruned, quantized))


def info_of(learned: Start | None) -> StartInfo | None:
    """What a manifest says of a start."""
    if learned is None:
        return None
    return StartInfo(learned.id, len(learned.directions), learned.users)


def finish(folder: Path, manifest: Manifest, model: AdaptedModel, learned: Start | None) -> int:
    """Write where users begin, and the manifest; returns the bundle's size in bytes."""
    start = Adapter(model.start().numpy()) if learned is None else learned.adapter
    check_gate(start.gate, manifest.gate_shape, bool(start.vector.any()), "the start")
    places = [folder / "adapter.safetensors"]
    save_adapter(places[0], start, manifest.identity, manifest.adapter, manifest.pruned)
    if learned is not None and len(learned.directions):
        places.append(folder / DIRECTIONS)
        save_directions(places[1], learned.directions)
    for place in places:
        manifest.files[place.name] = FileEntry(hash_file(place), place.stat().st_size)
    manifest.write(folder / "manifest.json")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
