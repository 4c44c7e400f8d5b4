"""`dsa-edge plan`: what learning would take, before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dsa_edge.cli._common import (
    add_examples,
    add_store,
    emit,
    load_examples,
    open_personalizer,
    parser,
    table,
)
from dsa_edge.cli._fit import add_budget, budget_of, hyperparameters_of

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge plan smol.dsa --data notes.jsonl
  dsa-edge plan smol.dsa --data reviews.jsonl --template '{text} It was' \\
      --labels terrible,great --memory-mb 400 --seconds 120 --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser(
        "plan",
        "Predict peak memory, disk and time of `personalize` by a trial on some of the examples.",
        EXAMPLES,
    )
    add_store(made)
    add_examples(made)
    add_budget(made)
    arguments = made.parse_args(argv)
    with open_personalizer(arguments) as me:
        examples = load_examples(arguments, me)
        hyper = hyperparameters_of(arguments, examples, me.bundle.manifest)
        plan = me.plan(examples, budget_of(arguments), hyper, arguments.seed)
        engine = me.engine
    spill = f", of it {plan.spill_mb:.1f} MB of prompts only meanwhile" if plan.spill_mb else ""
    rows = [
        ("peak memory", f"{plan.peak_mb:.0f} MB"),
        ("disk", f"{plan.disk_mb:.1f} MB more{spill}; a bound must allow {plan.disk_bound_mb:.1f}"),
        ("time", f"{plan.seconds:.0f} s, of it {plan.prefill_seconds:.0f} s until the first step"),
        ("steps", f"{plan.steps} of {1e3 * plan.step_seconds:.0f} ms"),
        ("examples", f"{plan.examples}, {plan.tokens} tokens"),
        ("engine", f"{engine['backend']}, adapter on {engine['kernels']}"),
    ]
    rows += [("note", note) for note in plan.notes]
    emit(arguments, {**asdict(plan), **engine}, table(rows))
    return 0
