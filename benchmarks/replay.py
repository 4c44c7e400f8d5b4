"""A journal of thousands of steps: how long it takes to rebuild the adapter from it, to the bit.

It is read from a real store on the disk, once unsealed and once sealed; both end with the digest of
the run that wrote it.

    python benchmarks/replay.py --json
"""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _common import parser

from dsa_edge.adapter import Adapter
from dsa_edge.runtime import FileKey, Hyperparameters
from dsa_edge.runtime._optimizer import State, Step, replay, update
from dsa_edge.runtime._store import Store

IDENTITY, SEED = "0" * 64, 7
LOST = 0.01  # share of pairs that were not finite, as on a real device now and then


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=5000)
    made.add_argument("--size", type=int, default=27_000, help="numbers in the adapter")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--store", default=".", help="where the temporary stores go")
    arguments = made.parse_args()
    hyper = Hyperparameters()
    start, steps = invented(arguments.size, arguments.steps, hyper)
    state = State(start)
    for step in steps:
        update(state, SEED, hyper, step)
    result: dict[str, object] = {"steps": len(steps), "size": len(start), "queries": hyper.queries}
    with tempfile.TemporaryDirectory(dir=arguments.store) as folder:
        keys = {"unsealed": None, "sealed": FileKey(Path(folder) / "key")}
        for name, key in keys.items():
            journal(Path(folder) / name, key, hyper, steps, state.theta)
        turns = [
            {name: replayed(Path(folder) / name, key, start) for name, key in keys.items()}
            for _ in range(arguments.repeats)
        ]
    for name in keys:
        read, computed, digests = zip(*(turn[name] for turn in turns), strict=True)
        result[f"{name}_read_seconds"] = statistics.median(read)
        result[f"{name}_replay_seconds"] = statistics.median(computed)
        result[f"{name}_seconds"] = statistics.median(map(sum, zip(read, computed, strict=True)))
        result[f"{name}_equal"] = set(digests) == {digest(state.theta)}
    result["digest"] = digest(state.theta)
    print(json.dumps(result) if arguments.json else result)


def invented(size: int, steps: int, hyper: Hyperparameters) -> tuple[np.ndarray, list[Step]]:
    """An adapter and the steps of a run, with a falling rate and some pairs lost."""
    random = np.random.default_rng(SEED)
    start = (0.1 * random.standard_normal(size)).astype(np.float32)
    slopes = random.standard_normal((steps, hyper.queries)).astype(np.float32)
    slopes[random.random(slopes.shape) < LOST] = np.nan
    rates = [float(np.float32(hyper.rate_at(i / steps))) for i in range(steps)]
    return start, [Step(rate, row) for rate, row in zip(rates, slopes, strict=True)]


def journal(
    folder: Path,
    key: FileKey | None,
    hyper: Hyperparameters,
    steps: Sequence[Step],
    end: np.ndarray,
) -> None:
    """Write the steps as a fit does."""
    store = Store(folder, IDENTITY, key)
    run = store.start_run(0, SEED, asdict(hyper))
    for step in steps:
        store.append(run, step)
    store.end_run(run, "improved", (Adapter(end, {}), len(steps), {}))
    store.close()


def replayed(folder: Path, key: FileKey | None, start: np.ndarray) -> tuple[float, float, str]:
    """Seconds of opening and reading, seconds of computing, and the digest of what came of it."""
    began = time.perf_counter()
    store = Store(folder, IDENTITY, key)
    run = store.run()
    steps = store.journal(run)
    store.close()
    read = time.perf_counter()
    hyper = Hyperparameters.from_dict(run.hyper)
    (theta,) = replay(start, run.seed, hyper, steps, [len(steps)])
    return read - began, time.perf_counter() - read, digest(theta)


def digest(theta: np.ndarray) -> str:
    return hashlib.sha256(theta.astype("<f4").tobytes()).hexdigest()


if __name__ == "__main__":
    main()
