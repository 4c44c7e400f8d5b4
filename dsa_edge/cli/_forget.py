"""`dsa-edge forget`: delete all that was learned."""

from __future__ import annotations

from collections.abc import Sequence

from dsa_edge.cli._common import add_store, emit, open_personalizer, parser

__all__ = ["main"]

EXAMPLES = "  dsa-edge forget smol.dsa --store me/"


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("forget", "Delete all versions and journals of a user.", EXAMPLES)
    add_store(made, required=True)
    arguments = made.parse_args(argv)
    with open_personalizer(arguments) as me:
        me.forget()
    emit(arguments, {"active": 0}, "forgotten; the bundle's initial adapter is in use")
    return 0
