"""`dsa-edge choose`: the likeliest of several answers."""

from __future__ import annotations

from collections.abc import Sequence

from dsa_edge.cli._common import (
    add_memory,
    add_store,
    emit,
    memory_of,
    open_personalizer,
    parser,
    table,
)

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge choose smol.dsa --store me/ \\
      --prompt 'A waste of time. It was' --choices ' great, terrible'"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("choose", "Pick the likeliest of several continuations of a prompt.", EXAMPLES)
    add_store(made)
    made.add_argument("--prompt", required=True, help="text before the answer")
    made.add_argument("--choices", required=True, metavar="A,B", help="answers, spaces included")
    add_memory(made)
    arguments = made.parse_args(argv)
    choices = [choice for choice in arguments.choices.split(",") if choice]
    with open_personalizer(arguments) as me:
        choice = me.choose(arguments.prompt, choices, budget=memory_of(arguments))
        version, engine = me.version, me.engine
    probabilities = dict(zip(choices, choice.probabilities, strict=True))
    data = {"choice": choice.text, "probabilities": probabilities, "version": version, **engine}
    rows = [
        (repr(text), f"{share:.3f}{' ◀' * (text == choice.text)}")
        for text, share in probabilities.items()
    ]
    emit(arguments, data, table(rows))
    return 0
