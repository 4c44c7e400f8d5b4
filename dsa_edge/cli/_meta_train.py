"""`dsa-edge meta-train`: users of a base → a learned start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from dsa_edge.adapter import AdapterSpec
from dsa_edge.cli._adapter import adapter_of, add_adapter
from dsa_edge.cli._common import add_labels, comma_list, emit, labels_of, parser, progress, table

if TYPE_CHECKING:
    from dsa_edge.exporters.training.meta import MetaReport, MetaSettings

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge meta-train model/ --users people/ --out start.safetensors
  dsa-edge meta-train smol.dsa --users people.jsonl --unseen ann,ben --out start.safetensors
  dsa-edge meta-train model/ --rank 8 --users people/ --method fomaml --device cuda \\
      --rounds 200 --directions 256 --out start.safetensors
  dsa-edge meta-train model/ --users people/ --blocks 8 --active 2 --out start.safetensors
  dsa-edge export model/ learned.dsa --start start.safetensors"""
DESCRIPTION = """Learn a start for new users from the users that you have, on the host.

A folder of one JSONL file a user, or a file whose lines have a "user", beside the fields of
`personalize --data`. Users are split into seen and unseen ones by a hash of their names; the unseen
only judge. An interrupted run goes on where it was when it is started again."""
# What `MetaSettings` has: help must not wait for torch. A test holds them against each other.
COUNTS = (
    ("rounds", 40, "steps of the start"),
    ("users-per-round", 4, "users that each is made of"),
    ("inner-steps", 5, "steps of a user in a round"),
    ("batch", 16, "examples of an inner step"),
    ("query", 16, "examples that judge a user"),
    ("examples", 256, "of a user that are used at most"),
    ("directions", 64, "along which users may learn, at most; 0 for none"),
    ("adapt-steps", 20, "steps of every seen user from the learned start, for the directions"),
    ("snapshots", 4, "points on that way that directions are made of"),
    ("seed", 0, "of everything"),
)
RATES = (
    ("inner-rate", 0.006, "of the users' steps (default: 0.006)"),
    ("rate", 0.0, "of the start, falling to zero (default: the method's own)"),
    ("gate-rate", 8.0, "of a gate that learns, falling to zero (default: 8)"),
)


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = _parser().parse_args(argv)
    from dsa_edge.exporters.training.meta import meta_train

    settings, adapter = _settings(arguments), adapter_of(arguments)
    with progress(None, "meta-train", "part") as bar:

        def on_part(done: int, total: int, told: str) -> None:
            bar.total = total
            bar.set_postfix_str(told, refresh=False)
            bar.update(done - bar.n)

        report = meta_train(
            arguments.base,
            arguments.users,
            arguments.out,
            settings,
            None if adapter == AdapterSpec() else adapter,
            arguments.quantize,
            labels_of(arguments, str),
            arguments.device,
            on_part,
        )
    emit(arguments, asdict(report), table(_rows(report)))
    return 0


def _parser() -> argparse.ArgumentParser:
    made = parser("meta-train", DESCRIPTION, EXAMPLES)
    made.add_argument("base", help="bundle, Hugging Face folder (safetensors) or GGUF file")
    made.add_argument("--users", required=True, metavar="PATH", help="folder or JSONL file")
    made.add_argument("--out", required=True, metavar="FILE", help="NAME.safetensors to write")
    add_labels(made)
    made.add_argument("--method", default="reptile", help="reptile or fomaml (default: reptile)")
    for name, value, what in COUNTS:
        made.add_argument(
            f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})"
        )
    for name, rate, what in RATES:
        made.add_argument(f"--{name}", type=float, default=rate, metavar="R", help=what)
    made.add_argument(
        "--unseen",
        default="0.2",
        metavar="SHARE|A,B",
        help="share of users that only judge, or their names (default: 0.2)",
    )
    made.add_argument(
        "--gate",
        default="clusters",
        help="of several blocks: clusters of the users' prompts, or learned from there (default: "
        "clusters)",
    )
    made.add_argument(
        "--skip-small", action="store_true", help="leave out users with too few examples"
    )
    made.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    group = made.add_argument_group("of a checkpoint, as for `export`")
    group.add_argument("--quantize", help="int4 or int8 (default: int4)")
    add_adapter(group)
    return made


def _settings(arguments: argparse.Namespace) -> MetaSettings:
    from dsa_edge.exporters.training.meta import MetaSettings

    given: dict[str, Any] = {
        field.name: getattr(arguments, field.name) for field in fields(MetaSettings)
    }
    try:
        given["unseen"] = float(arguments.unseen)
    except ValueError:
        given["unseen"] = comma_list(arguments.unseen)
    return MetaSettings(**given)


def _rows(report: MetaReport) -> list[tuple[str, object]]:
    worth, first, last = report.judged, report.rounds[0], report.rounds[-1]
    left_out = f"; {report.skipped} with too few examples" if report.skipped else ""
    rows = [
        ("start", report.start),
        ("users", f"{report.seen} seen, {report.unseen} unseen{left_out}"),
        ("rounds", f"{len(report.rounds)}, {first.before:.3f} → {last.before:.3f} nats"),
        ("directions", report.directions),
        ("unseen users", f"{worth.zero:.3f} nats; {worth.zero_steps:.3f} after a few steps"),
        ("  from the start", f"{worth.start:.3f} nats; {worth.start_steps:.3f} after as many"),
        ("time", f"{report.seconds:.1f} s"),
    ]
    if report.served:
        rows.insert(3, ("gate", f"blocks serve {', '.join(map(str, report.served))} prompts"))
    rows += [("note", note) for note in report.notes]
    if report.repeated:
        text = f"{report.repeated} texts of unseen users, which seen ones have too, do not judge"
        rows.insert(2, ("repeated", text))
    return rows
