"""`dsa-edge inspect`: what a bundle or an adapter file holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dsa_edge.adapter import read_adapter_info
from dsa_edge.bundle import Bundle
from dsa_edge.cli._common import emit, open_versions, parser, routes_rows, table
from dsa_edge.cli._keys import FORMS, key_choice
from dsa_edge.cli._pruning import pruned_rows
from dsa_edge.errors import UsageError
from dsa_edge.manifest import Manifest, TensorInfo
from dsa_edge.start import start_info

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge inspect smol.dsa
  dsa-edge inspect smol.dsa --slots
  dsa-edge inspect gated.dsa --store me/        # which blocks serve this user
  dsa-edge inspect me.safetensors --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("inspect", "Show what a bundle, an adapter or a start holds.", EXAMPLES)
    made.add_argument("path", help="bundle folder, adapter file or start")
    made.add_argument("--slots", action="store_true", help="list every slot of the adapter")
    made.add_argument("--store", metavar="DIR", help="of a user, whose blocks are counted")
    made.add_argument("--key", type=key_choice, metavar="KEY", help=f"of a sealed store: {FORMS}")
    arguments = made.parse_args(argv)
    path = Path(arguments.path)
    if path.is_file():
        if arguments.store:
            raise UsageError(
                f"{path} is a file, expected a bundle, which a store belongs to: name the bundle, "
                "or leave --store out."
            )
        info = start_info(path) or read_adapter_info(path)
        rows = [row for row in info.items() if row[0] != "served"]
        served = info.get("served", [])
        rows += routes_rows(served) if isinstance(served, list) else []
        emit(arguments, info, table(rows))
        return 0
    bundle = Bundle.open(path)
    data = {
        "path": path,
        "identity": bundle.identity,
        "bytes": bundle.bytes,
        **asdict(bundle.manifest),
    }
    data["slots"] = [asdict(slot) for slot in bundle.manifest.slots]
    data["served"] = served = _served(arguments, bundle)
    emit(arguments, data, _text(bundle, arguments.slots, served))
    return 0


def _served(arguments: argparse.Namespace, bundle: Bundle) -> tuple[int, ...]:
    """Prompts that each block serves: of the user's version in use, or of the bundle's start."""
    if arguments.store:
        if not Path(arguments.store).is_dir():
            raise UsageError(f"no store in {arguments.store}: correct --store, or leave it out.")
        arguments.bundle = arguments.path
        with open_versions(arguments) as me:
            gate = me.adapter.gate
        return gate.served if gate else ()
    told = read_adapter_info(bundle.path / "adapter.safetensors").get("served", ())
    return tuple(told) if isinstance(told, list) else ()


def _text(bundle: Bundle, slots: bool, served: Sequence[int]) -> str:
    manifest = bundle.manifest
    adapter, base = manifest.adapter, manifest.base
    activations = "int8" if base.accuracy_level else "float32"
    layers = f"layers {manifest.split_layer} … {manifest.n_layers - 1}"
    kilobytes = manifest.adapter_size * 4 / 1e3
    rows: list[tuple[str, object]] = [
        ("bundle", f"{bundle.path} ({bundle.bytes / 1e6:.1f} MB)"),
        ("identity", bundle.identity[:16]),
        ("base", f"{base.name} ({base.source}, licence {base.licence or 'not stated'})"),
        ("weights", f"{base.quantization}, activations {activations}"),
        ("geometry", _geometry(manifest)),
        *pruned_rows(manifest.pruned),
        ("adapter", f"{adapter.kind}, rank {adapter.rank}, {manifest.adapter_size} numbers"),
        *_blocks(manifest),
        *routes_rows(served),
        *_start(manifest),
        *_chats(manifest),
        ("a user", f"{kilobytes:.1f} kB"),
        ("targets", f"{' '.join(adapter.targets)} of {layers}"),
        ("invocation", f"last {adapter.invocation} prompt tokens, and the response"),
    ]
    if manifest.quantized:
        rows.insert(4, ("quantized", manifest.quantized.text))
    for name, (file, inputs, outputs) in manifest.methods.items():
        rows.append((name, f"{file}: {_tensors(inputs)} → {_tensors(outputs)}"))
    if slots:
        rows += [
            (slot.name, f"[{slot.offset}, {slot.offset + slot.size}) {slot.shape}")
            for slot in manifest.slots
        ]
    return table(rows)


def _blocks(manifest: Manifest) -> list[tuple[str, object]]:
    spec = manifest.adapter
    if spec.blocks == 1:
        return []
    text = f"{spec.blocks} a target, of which {spec.active} serve a prompt; gate of "
    return [("blocks", f"{text}{manifest.gate_size * 4 / 1e3:.1f} kB")]


def _start(manifest: Manifest) -> list[tuple[str, object]]:
    told = manifest.start
    if told is None:
        return []
    return [("start", f"{told.id[:16]}, of {told.users} users, {told.directions} directions")]


def _chats(manifest: Manifest) -> list[tuple[str, object]]:
    if "chat_template.jinja" not in manifest.files:
        return []
    roles = dict.fromkeys(turn.role for turn in manifest.chat.turns) if manifest.chat else ()
    return [("chats", f"{', '.join(roles)}, also without Python" if roles else "in Python alone")]


def _geometry(manifest: Manifest) -> str:
    d = manifest.decoder
    return (
        f"{d['family']}, {d['n_layers']} layers, width {d['width']}, {d['n_heads']} heads over "
        f"{d['n_kv_heads']}, vocabulary {d['vocab_size']}, {d['max_positions']} positions"
    )


def _tensors(tensors: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"{t.name} ({', '.join(map(str, t.shape))})" for t in tensors)
