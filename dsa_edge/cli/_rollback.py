"""`dsa-edge rollback`: use an earlier version again."""

from __future__ import annotations

from collections.abc import Sequence

from dsa_edge.cli._common import add_user, emit, open_versions, parser

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge rollback smol.dsa --store me/ --version 2
  dsa-edge rollback smol.dsa --store me/ --version 0      # the bundle's initial adapter"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("rollback", "Use an earlier version of a user's adapter again.", EXAMPLES)
    add_user(made)
    made.add_argument("--version", type=int, required=True, help="as `dsa-edge history` lists it")
    arguments = made.parse_args(argv)
    with open_versions(arguments) as me:
        me.rollback(arguments.version)
    emit(arguments, {"active": arguments.version}, f"version {arguments.version} is in use")
    return 0
