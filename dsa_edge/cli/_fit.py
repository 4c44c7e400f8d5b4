"""Learning with progress bars, for the verbs that do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dsa_edge.cli._common import progress

if TYPE_CHECKING:
    from dsa_edge.examples import Labels, Row
    from dsa_edge.runtime import Example, Personalizer, Progress, Report

__all__ = ["fit_with_progress", "pick_with_progress"]


def fit_with_progress(
    me: Personalizer, examples: Sequence[Example], arguments: argparse.Namespace
) -> Report:
    """Fit within the budget and hyper-parameters of the command line."""
    from dsa_edge.runtime import Budget, Hyperparameters

    suited = Hyperparameters.suited(all(example.choices for example in examples))
    names = ("rate", "epsilon", "queries", "batch")
    given = {n: getattr(arguments, n) for n in names if getattr(arguments, n, None) is not None}
    budget = Budget(arguments.seconds, arguments.steps, arguments.memory_mb)
    with (
        progress(len(examples), "prompts", "prompt") as prompts,
        progress(None, "steps", "step") as bar,
    ):

        def on_step(event: Progress) -> None:
            bar.set_postfix(loss=f"{event.loss:.3f}", refresh=False)
            bar.update()

        return me.fit(
            examples,
            budget,
            on_step,
            replace(suited, **given),
            arguments.seed,
            prompts.update,
        )


def pick_with_progress(
    me: Personalizer, labels: Labels, rows: Sequence[Row], shots: int = 4, seed: int = 0
) -> tuple[Labels, list[Row]]:
    """`Personalizer.pick_shots`."""
    with progress(None, "worked examples", "prompt") as bar:

        def on_judged(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return me.pick_shots(labels, rows, shots, seed=seed, on_judged=on_judged)
