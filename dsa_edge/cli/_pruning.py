"""The options of `export` that prune, and what is told of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dsa_edge.cli._common import add_labels, labels_of
from dsa_edge.errors import UsageError
from dsa_edge.pruned import BLOCK, Pruned

if TYPE_CHECKING:
    from dsa_edge.exporters import Pruning

__all__ = ["add_pruning", "pruned_rows", "pruning_of"]


def add_pruning(made: argparse.ArgumentParser) -> None:
    """The options."""
    group = made.add_argument_group(
        "pruning", "leave out what a task needs least: KV groups and blocks of neurons, as many in "
        "each layer"
    )  # fmt: skip
    group.add_argument("--prune", type=float, metavar="SHARE", help="of the layers' weights: 0.25")
    group.add_argument("--prune-on", metavar="FILE", help="JSONL of the task's examples")
    group.add_argument("--prune-steps", type=int, metavar="N", help="steps of learning (60)")
    group.add_argument(
        "--prune-modules", type=float, metavar="SHARE", help="of the adapter's targets, too"
    )
    group.add_argument(
        "--prune-ranks", type=float, metavar="SHARE", help="of the adapter's rank, too"
    )
    add_labels(group)


def pruning_of(arguments: argparse.Namespace) -> Pruning | None:
    """What the options ask for, if anything; raises UsageError for halves."""
    given = {
        "share": arguments.prune,
        "modules": arguments.prune_modules,
        "ranks": arguments.prune_ranks,
        "steps": arguments.prune_steps,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    on = arguments.prune_on, arguments.template, arguments.labels
    if not chosen and not any(on):
        return None
    if arguments.prune_on is None or not chosen.keys() & {"share", "modules", "ranks"}:
        raise UsageError(
            "pruning needs how much and on what, and got only one of them: give --prune SHARE and "
            "--prune-on FILE, or neither."
        )
    from dsa_edge.exporters import Pruning

    return Pruning(
        **{"share": 0.0, **chosen}, examples=arguments.prune_on, labels=labels_of(arguments, str)
    )


def pruned_rows(pruned: Pruned | None) -> list[tuple[str, object]]:
    """Rows of a table on a base; none on a whole one."""
    if pruned is None:
        return []
    groups, blocks = len(pruned.kv_groups[0]), len(pruned.ffn_blocks[0])
    rows: list[tuple[str, object]] = [
        ("pruned", f"{pruned.share:.1%} of the layers' weights, by {pruned.by}"),
        ("  KV groups", f"{groups} of {pruned.n_kv_heads} a layer are left"),
        ("  neurons", f"{blocks * BLOCK} of {pruned.ffn_width} a layer are left"),
    ]
    if pruned.targets:
        rows.append(("  targets", f"of {' '.join(pruned.targets)} before"))
    return rows
