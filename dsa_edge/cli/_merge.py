"""`dsa-edge merge`: what merging into the quantized base would lose; forced, a float32 model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dsa_edge.cli._common import emit, parser, table
from dsa_edge.cli._export_adapter import add_learned, learned

__all__ = ["main"]

DESCRIPTION = """Measure what is lost when what was learned is merged into the quantized base.

What was learned is smaller than the steps of 4 bits, so a merge in these bits is refused, with the
share that rounding would take. With --force the merged model is written as a Hugging Face folder in
float32: four to eight times the size, and nothing lost by rounding."""
EXAMPLES = """\
  dsa-edge merge smol.dsa merged/ --store me/                    # refused, with the loss
  dsa-edge merge smol.dsa merged/ --adapter me.safetensors --force"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("merge", DESCRIPTION, EXAMPLES)
    add_learned(made)
    made.add_argument("--force", action="store_true", help="write the merged model in float32")
    arguments = made.parse_args(argv)
    from dsa_edge.runtime.interchange import merge_adapter

    merged = merge_adapter(*learned(arguments), arguments.folder, arguments.force)
    loss = merged.loss
    rows = [
        ("written to", merged.folder),
        ("size", f"{merged.bytes / 1e6:.1f} MB in float32"),
        (f"in {loss.bits} bits", f"{loss.lost:.0%} would be lost, {loss.worst} most"),
        *(("note", note) for note in merged.notes),
    ]
    emit(arguments, asdict(merged), table(rows))
    return 0
