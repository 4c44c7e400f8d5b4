"""`dsa-edge history`: the versions in a store, and the fits that made them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._common import add_user, emit, open_versions, parser
from dsa_edge.errors import StoreError, TamperError

if TYPE_CHECKING:
    from dsa_edge.runtime import Run, Version
    from dsa_edge.runtime._versions import Versions

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge history smol.dsa --store me/
  dsa-edge history smol.dsa --store me/ --fit 2 --examples
  dsa-edge history smol.dsa --store me/ --key keyring --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("history", "List a user's versions, and the fits that made them.", EXAMPLES)
    add_user(made)
    made.add_argument("--fit", type=int, metavar="N", help="this fit alone")
    made.add_argument("--examples", action="store_true", help="list the ids of a fit's examples")
    arguments = made.parse_args(argv)
    with open_versions(arguments) as me:
        versions, runs = me.history(), _chosen(me.fits(), arguments.fit)
        active, damaged, lost = _in_use(me)
        sealed = me.sealed
    data = {
        "active": active,
        "versions": [asdict(version) for version in versions],
        "fits": [_fit(run, arguments.examples) for run in runs],
        "damaged": damaged,
        "active_damaged": lost,
        "sealed": sealed,
    }
    emit(arguments, data, _text(arguments, data, versions, runs))
    return 0


def _in_use(me: Versions) -> tuple[int | None, tuple[int, ...], bool]:
    """The version in use, None where it was forged; the damaged ones before it; whether lost."""
    try:
        return me.version, me.damaged, me.active_damaged
    except TamperError:  # said when the store was opened
        return None, (), False


def _chosen(runs: Sequence[Run], wanted: int | None) -> Sequence[Run]:
    found = [run for run in runs if wanted in (None, run.id)]
    if wanted is not None and not found:
        known = ", ".join(str(run.id) for run in runs) or "none"
        raise StoreError(
            f"no fit {wanted} in this store (there are {known}): leave --fit out to list them."
        )
    return found


def _fit(run: Run, ids: bool) -> dict[str, Any]:
    """A fit as --json has it."""
    verdict, count = run.verdict or "interrupted", len(run.examples)
    told: dict[str, Any] = {
        "id": run.id,
        "parent": run.parent,
        "created": run.created,
        "verdict": verdict,
    }
    told |= {"version": run.version, "kept": run.kept, "examples": count}
    told |= {"privacy": asdict(run.privacy) if run.privacy else None}
    return {**told, "example_ids": list(dict.fromkeys(run.examples))} if ids else told


def _text(
    arguments: argparse.Namespace,
    data: dict[str, Any],
    versions: Sequence[Version],
    runs: Sequence[Run],
) -> str:
    active, damaged = data["active"], data["damaged"]
    lines = [f"versions ({'sealed' if data['sealed'] else 'not sealed'}, * is in use)"]
    lines.append(f"{'*' if active == 0 else ' '} 0  the bundle's initial adapter")
    for version in versions:
        broken = ", damaged" if version.id in damaged else ""
        if version.parent is None:  # nothing of it can be read
            what, broken = version.verdict, ""
        else:
            what = f"{version.verdict}, {version.steps} steps after {version.parent}"
            what += "" if version.kept else ", adapter no longer kept"
        mark = "*" if version.id == active else " "
        lines.append(f"{mark} {version.id}  {_when(version.created)}  {what}{broken}")
    lines += ["fits"] if runs else []
    for run in runs:
        lines.append(f"  {run.id}  {_when(run.created)}  {_told(run)}")
        lines += [
            f"       {example}" for example in dict.fromkeys(run.examples) if arguments.examples
        ]
    return "\n".join(lines)


def _told(run: Run) -> str:
    """A fit in words."""
    made = f" → version {run.version}, {run.kept} steps kept" if run.version else ""
    count = f"{len(run.examples)} examples" if run.examples else "examples not recorded"
    if run.parent is None:
        return f"{run.verdict}"
    spent = f", epsilon {run.privacy.epsilon:.2f} spent" if run.privacy else ""
    return f"{run.verdict or 'interrupted'}{made}, {count}, after {run.parent}{spent}"


def _when(created: float | None) -> str:
    if created is None:  # of a fit from before times were kept
        return " " * 16
    return datetime.fromtimestamp(created).isoformat(" ", "minutes")
