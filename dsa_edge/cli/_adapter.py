"""The options that say what is learned, where, and how much of it."""

from __future__ import annotations

import argparse

from dsa_edge.adapter import AdapterSpec
from dsa_edge.cli._common import comma_list
from dsa_edge.errors import UsageError
from dsa_edge.kinds import KINDS

__all__ = ["adapter_of", "add_adapter"]


def adapter_of(arguments: argparse.Namespace) -> AdapterSpec:
    """The adapter layout of the command line."""
    if arguments.rank == 0:  # which for `AdapterSpec` is the kind's own
        raise UsageError("rank is 0, expected at least 1: leave --rank out for the kind's own.")
    return AdapterSpec(
        arguments.adapter,
        arguments.rank or 0,
        comma_list(arguments.targets),
        arguments.split,
        arguments.invocation,
        arguments.blocks,
        arguments.active,
    )


def add_adapter(made: argparse._ActionsContainer) -> None:
    """What is learned, where, and how much of it."""
    default = AdapterSpec()
    made.add_argument("--adapter", default=default.kind, help=f"{', '.join(KINDS)} (default: core)")
    made.add_argument(
        "--rank",
        type=int,
        help="size at a target, as the kind counts it: directions, columns, width (default: the "
        f"kind's own, {default.rank} for core)",
    )
    made.add_argument(
        "--split",
        type=float,
        default=default.split,
        help="first adapted layer, as a share of the depth (default: %(default)s)",
    )
    made.add_argument(
        "--targets",
        default="",
        help="where the adapter acts: linears q k v o gate up down; for bias also attention_norm, "
        "mlp_norm; for bottleneck and parallel attention, mlp (default: the kind's own)",
    )
    made.add_argument(
        "--invocation",
        type=int,
        default=default.invocation,
        help="last prompt tokens on which the adapter acts (default: %(default)s)",
    )
    made.add_argument(
        "--blocks",
        type=int,
        default=default.blocks,
        metavar="N",
        help="blocks of a target, of which a gate chooses some for each prompt (default: "
        "%(default)s)",
    )
    made.add_argument(
        "--active",
        type=int,
        default=default.active,
        metavar="K",
        help="blocks that serve a prompt (default: %(default)s)",
    )
