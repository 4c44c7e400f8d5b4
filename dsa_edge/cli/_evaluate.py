"""`dsa-edge evaluate`: loss and accuracy on examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dsa_edge.cli._common import (
    add_examples,
    add_memory,
    add_store,
    emit,
    load_examples,
    memory_of,
    open_personalizer,
    parser,
    progress,
    table,
)

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge evaluate smol.dsa --store me/ --data test.jsonl
  dsa-edge evaluate smol.dsa --store me/ --data test.jsonl --template '{text} It was' \\
      --labels terrible,great --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("evaluate", "Compare the base with the version in use on examples.", EXAMPLES)
    add_store(made)
    add_examples(made)
    add_memory(made)
    arguments = made.parse_args(argv)
    with open_personalizer(arguments) as me:
        examples = load_examples(arguments, me)
        active = me.version
        with progress(len(examples), "examples", "example") as bar:
            base, now = me.evaluate(examples, (0, active), bar.update, memory_of(arguments))
        engine = me.engine
    data = {**asdict(now), **engine, "version": active, "base": asdict(base)}
    rows: list[tuple[str, object]] = [
        ("examples", now.examples),
        ("version", active),
        ("loss", f"{base.loss:.4f} → {now.loss:.4f} nats"),
    ]
    if now.accuracy is not None and base.accuracy is not None:
        rows.append(("accuracy", f"{base.accuracy:.4f} → {now.accuracy:.4f}"))
    emit(arguments, data, table(rows))
    return 0
