"""`dsa-edge import-adapter`: a LoRA of PEFT, Unsloth or MLX-LM → an adapter of a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dsa_edge.adapter import save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.cli._common import add_user, emit, open_versions, parser
from dsa_edge.errors import UsageError

if TYPE_CHECKING:
    from dsa_edge.runtime.interchange import Imported

__all__ = ["main"]

DESCRIPTION = """Take a LoRA of PEFT, Unsloth or MLX-LM into a bundle of kind `lora`.

Every tensor must have a place in the bundle, or nothing is imported. Smaller ranks are filled up.
DoRA, biases, retrained modules and other variants are refused by name."""
EXAMPLES = """\
  dsa-edge export model/ lora.dsa --adapter lora --rank 16 --split 0
  dsa-edge import-adapter lora.dsa peft-folder/ --out me.safetensors
  dsa-edge import-adapter lora.dsa mlx-folder/ --store me/     # becomes the version in use"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("import-adapter", DESCRIPTION, EXAMPLES)
    add_user(made, required=False)
    made.add_argument("folder", help="with adapter_config.json and its safetensors")
    made.add_argument("--out", metavar="FILE", help="write it as an adapter file")
    arguments = made.parse_args(argv)
    if arguments.out is None and arguments.store is None:
        raise UsageError("neither --out nor --store was given: say where the adapter goes.")
    from dsa_edge.runtime.interchange import import_adapter

    bundle = Bundle.open(arguments.bundle, check_hashes=False)
    made_of = import_adapter(bundle, arguments.folder)
    if arguments.out is not None:
        manifest = bundle.manifest
        save_adapter(
            arguments.out, made_of.adapter, manifest.identity, manifest.adapter, manifest.pruned
        )
    version = None
    if arguments.store is not None:
        with open_versions(arguments) as me:
            version = me.use_adapter(made_of.adapter)
    data = {
        "source": made_of.source,
        "out": arguments.out,
        "version": version,
        "mapping": [asdict(line) for line in made_of.mapping],
        "notes": made_of.notes,
    }
    emit(arguments, data, _text(made_of, arguments, version))
    return 0


def _text(made: Imported, arguments: argparse.Namespace, version: int | None) -> str:
    width = max(len(line.key) for line in made.mapping)
    factors = {line.slot: f" times {line.factor:g}" * (line.factor != 1) for line in made.mapping}
    lines = [f"{line.key:<{width}}  → {line.slot}{factors[line.slot]}" for line in made.mapping]
    lines.append(f"{len(made.mapping)} tensors of {made.source}, every one in its place")
    if arguments.out is not None:
        lines.append(f"written to {arguments.out}")
    if version is not None:
        lines.append(f"version {version} of {arguments.store} is in use")
    return "\n".join([*lines, *(f"note: {note}" for note in made.notes)])
