"""Which of the user's examples to show in the prompt: a few sets are tried, the best is kept.

Worked examples help a base model more than any other words in the prompt, but which ones matters:
four sentences more or less moved the demo's accuracy by ten points. Trying a set costs one run of
its prefix and of a few dozen short prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example, Labels
from dsa_edge.runtime._calibration import fit_bias, softmax
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._random import order

__all__ = ["Row", "pick_shots"]

Row = tuple[str, object]  # text, label
Score = Callable[[Sequence[Example]], tuple[Floats, Ints]]  # → scores (N, K), answers (N,)


def pick_shots(
    labels: Labels,
    rows: Sequence[Row],
    score: Score,
    shots: int,
    tries: int,
    judges: int,
    seed: int,
) -> tuple[Labels, list[Row]]:
    """The labels with the best of `tries` sets of worked examples, and the rows that are left.

    judges: rows that every set is measured on, by calibrated loss; no set contains one.
    Raises ExampleError when there are too few rows of each label.
    """
    shuffled = [rows[i] for i in order(seed, 0, len(rows))]
    judges = min(judges, len(rows) // 2)
    judged, pool = shuffled[:judges], shuffled[judges:]
    sets = [_draw(labels, pool, shots, seed, attempt) for attempt in range(tries)]
    losses = []
    for shown in sets:
        made = labels.with_shots(shown)
        scores, answers = score([made.example(*row) for row in judged])
        p = softmax(scores + fit_bias(scores, answers))
        losses.append(-np.log(p[np.arange(len(answers)), answers] + 1e-9).mean())
    best = sets[int(np.argmin(losses))]
    return labels.with_shots(best), [row for row in rows if row not in best]


def _draw(labels: Labels, pool: list[Row], shots: int, seed: int, attempt: int) -> list[Row]:
    """A set of rows in which the labels take turns."""
    queues: dict[str, list[Row]] = {}
    for index in order(seed, attempt + 1, len(pool)):
        answer = labels.example(*pool[index]).response
        queues.setdefault(answer, []).append(pool[index])
    turns = [queues[answer] for answer in sorted(queues)]
    if len(turns) < 2 or min(len(queue) for queue in turns) * len(turns) < shots:
        raise ExampleError(
            f"{shots} worked examples need some of each label, and {len(pool)} rows to draw from "
            "hold too few: give more examples or fewer shots."
        )
    return [turns[i % len(turns)][i // len(turns)] for i in range(shots)]
