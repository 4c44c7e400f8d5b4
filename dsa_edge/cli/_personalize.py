"""`dsa-edge personalize`: learn from a user's examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsa_edge.adapter import write_atomic
from dsa_edge.cli._common import (
    add_examples,
    add_store,
    emit,
    labels_of,
    load_examples,
    memory_of,
    open_personalizer,
    parser,
    routes_rows,
    table,
)
from dsa_edge.cli._fit import add_budget, add_trust, fit_with_progress, pick_with_progress
from dsa_edge.errors import UsageError
from dsa_edge.examples import read_rows

if TYPE_CHECKING:
    from dsa_edge.cli._html import BeforeAfter
    from dsa_edge.examples import Example
    from dsa_edge.runtime import Personalizer, Report

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge personalize smol.dsa --store me/ --data notes.jsonl
  dsa-edge personalize smol.dsa --store me/ --data reviews.jsonl \\
      --template '{text} It was' --labels terrible,great --seconds 120
  dsa-edge personalize smol.dsa --store me/ --data reviews.jsonl --labels negative,positive \\
      --template 'Review: {text} Sentiment:' --shots 4 --save-template prompt.txt
  dsa-edge personalize smol.dsa --store me/ --key passphrase --data notes.jsonl --remember
  dsa-edge personalize smol.dsa --store me/ --data notes.jsonl --report me.html --plots plots/"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser(
        "personalize", "Learn from a user's examples, with forward passes only.", EXAMPLES
    )
    add_store(made, required=True)
    add_examples(made)
    made.add_argument(
        "--shots", type=int, metavar="N", help="put the N best of the labelled texts in the prompt"
    )
    made.add_argument(
        "--save-template", metavar="FILE", help="where that prompt goes; use it as --template @FILE"
    )
    add_budget(made)
    add_trust(made)
    made.add_argument(
        "--report", metavar="FILE", help="write one HTML file: plots, answers before and after"
    )
    made.add_argument(
        "--plots", metavar="DIR", help="write the plots as SVG, and PNG with resvg-py"
    )
    arguments = made.parse_args(argv)
    with open_personalizer(arguments) as me:
        damaged, version = me.damaged, me.version
        examples, template = _examples(arguments, me)
        report = fit_with_progress(me, examples, arguments)
        if template is not None:
            write_atomic(Path(arguments.save_template), f"{template}\n".encode())
        stored, engine = me.store_bytes, me.engine
        answers = _answers(arguments, me, examples, report, version)
    data = {**report.to_dict(), "store_bytes": stored, "damaged": damaged, **engine}
    rows = [
        ("verdict", report.verdict),
        ("version in use", report.version),
        ("held-out loss", f"{report.before.loss:.4f} → {report.after.loss:.4f} nats"),
        ("held-out accuracy", _share(report.before.accuracy, report.after.accuracy)),
        ("steps", f"{report.steps} of {1e3 * report.step_seconds:.0f} ms"),
        ("time", f"{report.fit_seconds:.1f} s, of it {report.prefill_seconds:.1f} s prompts"),
        ("peak memory", f"{report.peak_mb:.0f} MB"),
        ("adapter", f"{report.adapter_bytes / 1e3:.1f} kB; store {stored / 1e3:.1f} kB"),
        ("engine", f"{engine['backend']}, adapter on {engine['kernels']}"),
        *routes_rows(report.routes),
        *_privacy(report),
        *(("note", note) for note in report.notes),
    ]
    if arguments.report:
        from dsa_edge.cli._html import write_report

        facts = [(name, str(value)) for name, value in rows]
        write_report(
            arguments.report, report, f"{arguments.bundle} on {arguments.data}", facts, answers
        )
    if arguments.plots:
        from dsa_edge.cli._html import plots_of
        from dsa_edge.cli._plot import write_plots

        written = write_plots(arguments.plots, plots_of(report))
        rows.append(("plots", ", ".join(map(str, written)) or "none: no step was made"))
    emit(arguments, data, table(rows))
    return 0


def _examples(arguments: argparse.Namespace, me: Personalizer) -> tuple[list[Example], str | None]:
    """The examples to learn from; with --shots, those left, and the template with the others."""
    if (arguments.shots is None) != (arguments.save_template is None):
        raise UsageError(
            "--shots and --save-template belong together: what is learned holds for that prompt."
        )
    if arguments.shots is None:
        return load_examples(arguments, me), None
    labels = labels_of(arguments, me.plain)
    if labels is None:
        raise UsageError("--shots needs --template and --labels: say how texts become prompts.")
    rows = read_rows(arguments.data, labels)
    shown, rest = pick_with_progress(me, labels, rows, arguments.shots, arguments.seed)
    return [shown.example(*row) for row in rest], shown.template


def _answers(
    arguments: argparse.Namespace, me: Personalizer, examples: Sequence[Example], report: Report,
    version: int,
) -> list[BeforeAfter]:  # fmt: skip
    """For the report, if one was asked for."""
    if not arguments.report:
        return []
    from dsa_edge.cli._answers import before_and_after

    return before_and_after(me, examples, report, version, memory_of(arguments))


def _privacy(report: Report) -> list[tuple[str, object]]:
    if report.privacy is None:
        return []
    spent = f"epsilon {report.privacy.epsilon:.2f} at delta {report.privacy.delta:g} spent"
    return [("privacy", f"{spent} by this store; the held-out figures are noised")]


def _share(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "– (free responses)"
    return f"{before:.3f} → {after:.3f}"
