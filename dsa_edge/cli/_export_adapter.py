"""`dsa-edge export-adapter`: what was learned → a PEFT folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dsa_edge.adapter import Adapter, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.cli._common import add_user, emit, open_versions, parser, table
from dsa_edge.errors import StoreError, UsageError

__all__ = ["add_learned", "learned", "main"]

DESCRIPTION = """Write what was learned as a PEFT folder (adapter_config.json, safetensors).

Kind lora goes over to the bit; lora-frozen, core, diagonal, kron and columns but for one rounding
to float32. Other kinds are no low-rank change of weights and are refused."""
EXAMPLES = """\
  dsa-edge export-adapter smol.dsa peft-folder/ --store me/
  dsa-edge export-adapter smol.dsa peft-folder/ --adapter me.safetensors --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("export-adapter", DESCRIPTION, EXAMPLES)
    add_learned(made)
    arguments = made.parse_args(argv)
    from dsa_edge.runtime.interchange import export_adapter

    bundle, adapter = learned(arguments)
    written = export_adapter(bundle, adapter, arguments.folder)
    rows = [
        ("written to", written.folder),
        ("adapter", f"rank {written.rank}, {written.linears} linears"),
        ("size", f"{written.bytes / 1e3:.1f} kB"),
        *(("note", note) for note in written.notes),
    ]
    emit(arguments, asdict(written), table(rows))
    return 0


def add_learned(made: argparse.ArgumentParser) -> None:
    """The options that say which adapter goes where."""
    add_user(made, required=False)
    made.add_argument("folder", help="to write; new or empty")
    made.add_argument("--adapter", metavar="FILE", help="an adapter file instead of a store")


def learned(arguments: argparse.Namespace) -> tuple[Bundle, Adapter]:
    """The bundle and the adapter of the command line: a file's, or the one in use in a store."""
    if (arguments.adapter is None) == (arguments.store is None):
        raise UsageError("expected --adapter or --store, got both or neither: give one of them.")
    bundle = Bundle.open(arguments.bundle, check_hashes=False)
    if arguments.adapter is not None:
        from dsa_edge.runtime._subspace import Subspaces

        size, pruned = bundle.manifest.adapter_size, bundle.manifest.pruned
        wanted = size, pruned, bundle.manifest.gate_shape
        loaded = load_adapter(arguments.adapter, bundle.identity, *wanted)
        return bundle, Subspaces(bundle).whole(loaded)
    from dsa_edge.runtime._database import FILE

    if not (Path(arguments.store) / FILE).is_file():
        raise StoreError(f"no store in {arguments.store}: correct --store, or learn something.")
    with open_versions(arguments) as me:
        return bundle, me.adapter
