"""`dsa-edge history`: the versions in a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from dsa_edge.cli._common import add_store, emit, open_personalizer, parser

__all__ = ["main"]

EXAMPLES = "  dsa-edge history smol.dsa --store me/"


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("history", "List the saved versions of a user's adapter.", EXAMPLES)
    add_store(made, required=True)
    arguments = made.parse_args(argv)
    with open_personalizer(arguments) as me:
        versions, active = me.history(), me.version
    lines = [f"{'*' if active == 0 else ' '} 0  the bundle's initial adapter"]
    for version in versions:
        when = datetime.fromtimestamp(version.created).isoformat(" ", "minutes")
        mark = "*" if version.active else " "
        what = f"{version.verdict}, {version.steps} steps after {version.parent}"
        lines.append(f"{mark} {version.id}  {when}  {what}")
    data = {"active": active, "versions": [asdict(version) for version in versions]}
    emit(arguments, data, "\n".join(lines))
    return 0
