"""Resident memory over thousands of steps: it must not grow.

Fits follow one another in one process and one store, as early stopping ends some of them.

    python benchmarks/soak.py --json [--steps 2000]

Exits with 1 if memory grows by more than 5 MB after the first 200 steps.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _bounds_child import words
from _common import parser
from _medium import medium_bundle
from tqdm import tqdm

from dsa_edge.runtime import Budget, Hyperparameters, Personalizer, Progress
from dsa_edge.runtime._memory import resident_mb

EVERY = 50  # steps between two looks
SETTLED = 200  # steps until everything that is loaded once is loaded
ALLOWED_MB = 5.0
HYPER = Hyperparameters(queries=4, batch=8)


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=2000)
    made.add_argument("--train", type=int, default=64, help="examples to learn from")
    made.add_argument("--threads", type=int, help="of the engine (default: all cores)")
    arguments = made.parse_args()
    if arguments.steps < SETTLED + 2 * EVERY:
        made.error(f"--steps is {arguments.steps}, expected at least {SETTLED + 2 * EVERY}")
    bundle = medium_bundle(Path(arguments.folder), "qwen3-medium")
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(bundle, store, threads=arguments.threads) as me,
        tqdm(total=arguments.steps, unit="step", disable=arguments.json, leave=False) as bar,
    ):
        fits, looks = soak(me, arguments.steps, arguments.train, bar)
    result = judged(looks) | {"fits": fits, "looks": looks}
    print(json.dumps(result) if arguments.json else result)
    return 1 if result["growth_mb"] > ALLOWED_MB else 0


def soak(
    me: Personalizer, steps: int, train: int, bar: Any
) -> tuple[list[int], list[tuple[int, float]]]:
    """Fit until so many steps are done: steps of each fit, and (step, MB) now and then."""
    fits, looks, done = list[int](), list[tuple[int, float]](), 0

    def on_step(_: Progress) -> None:
        nonlocal done
        done += 1
        bar.update()
        if done % EVERY == 0:
            looks.append((done, resident_mb()))

    while done < steps:
        budget = Budget(steps=steps - done)
        fits.append(me.fit(words(train), budget, on_step, HYPER, seed=len(fits)).steps)
    return fits, looks


def judged(looks: list[tuple[int, float]]) -> dict[str, float]:
    """Growth from step 200 to the end, and the slope of a line through what lies between."""
    at, mb = np.array([look for look in looks if look[0] >= SETTLED]).T
    return {
        "steps": looks[-1][0],
        "start_mb": mb[0],
        "growth_mb": mb[-1] - mb[0],
        "most_mb": mb.max(),
        "mb_per_1000_steps": 1000 * float(np.polyfit(at, mb, 1)[0]),
    }


if __name__ == "__main__":
    sys.exit(main())
