"""Every kind of adapter and every estimator on the same four tasks, with first order beside them.

    python benchmarks/methods.py --json --device cuda --workers 8    # two hours on an H100
    python benchmarks/methods.py --kinds core --estimators antithetic,exact --tasks reviews
    python benchmarks/methods.py --report                            # tables and plots again

Tasks come from packages (`_tasks.py` says which, and the command to get them). Each finished run is
a line of `--results`; runs that are there already are not run again. Learning is the runtime's own,
on the torch engine of `_torch_engine.py`: seconds and memory are no device's, and come from
`_methods_cpu.py`. Forward tokens are counted in full-depth tokens (`_costs.py`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from _common import parser
from _methods_report import compact, report
from _methods_rows import WHOLE, Row, rows
from _methods_run import Bench, Job, Options, Record, tuned_on
from _tasks import FOLDER, TASKS, load_task
from tqdm import tqdm

from dsa_edge.bundle import Bundle
from dsa_edge.cli._demo import demo_bundle
from dsa_edge.kinds import KINDS
from dsa_edge.runtime._hyperparameters import ESTIMATORS
from dsa_edge.tokenizer import Tokenizer

RESULTS = Path("docs/results/methods/runs.jsonl")


def main() -> None:
    arguments = _arguments()
    results = Path(arguments.results)
    if not arguments.report:
        sweep(_options(arguments), arguments, results)
    if arguments.report or not arguments.no_report:
        summary = report(read(results), results.parent)
        print(json.dumps(summary) if arguments.json else summary["text"])


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--bundle", help="instead of the demo's")
    made.add_argument("--device", default="cpu", help="cpu, or cuda")
    made.add_argument("--workers", type=int, default=1, help="processes that share the device")
    made.add_argument("--tasks", default=",".join(TASKS))
    made.add_argument("--kinds", default=",".join(KINDS))
    made.add_argument("--estimators", default=",".join(ESTIMATORS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--steps", type=int, default=100, help="of 32 lanes; others by theirs")
    made.add_argument("--tune-steps", type=int, default=40, help="of a trial, likewise")
    made.add_argument("--activations", default="group", help="int8 in groups, row, or float32")
    made.add_argument("--tf32", default="", help="tasks whose products are in TF32, on a GPU")
    made.add_argument("--data", default=str(FOLDER), help="where archives and caches lie")
    made.add_argument("--results", default=str(RESULTS))
    made.add_argument("--seconds", type=float, help="start no run after so long")
    made.add_argument("--report", action="store_true", help="tables and plots of what is there")
    made.add_argument("--no-report", action="store_true")
    return made.parse_args()


def _options(arguments: argparse.Namespace) -> Options:
    bundle = arguments.bundle or str(demo_bundle(Path(arguments.folder)))
    tokenizer = Tokenizer.of(Bundle.open(bundle, check_hashes=False))
    for task in arguments.tasks.split(","):
        load_task(task, tokenizer, Path(arguments.data))  # says at once what is missing
    return Options(
        bundle, arguments.device, arguments.activations, arguments.tf32, arguments.steps,
        arguments.tune_steps, arguments.seeds, arguments.data,
    )  # fmt: skip


def read(results: Path) -> list[Record]:
    """All finished runs."""
    lines = results.read_text().splitlines() if results.is_file() else []
    return [json.loads(line) for line in lines]


def sweep(options: Options, arguments: argparse.Namespace, results: Path) -> None:
    """Run what is missing, and append each result as soon as it is there."""
    tasks = tuple(arguments.tasks.split(","))
    wanted = rows(tuple(arguments.kinds.split(",")), tuple(arguments.estimators.split(",")))
    plan = Plan([None, *wanted], tasks, options.seeds, read(results))
    results.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + (arguments.seconds or 1e9)
    with results.open("a") as file, tqdm(total=plan.left, desc="runs", unit="run") as bar:

        def keep(record: Record) -> None:
            file.write(json.dumps(compact(record)) + "\n")
            file.flush()
            plan.add(record)
            bar.update()

        if arguments.workers == 1:
            bench = Bench(options)
            while time.monotonic() < until and (job := plan.next(None)):
                for record in bench.run(job):
                    keep(record)
        else:
            Crew(options, arguments.workers).work(plan, keep, until)


class Plan:
    """Which jobs are left: a row is tuned first, then fitted on the tasks that it was tuned for."""

    def __init__(
        self, wanted: list[Row | None], tasks: tuple[str, ...], seeds: int, done: list[Record]
    ) -> None:
        self._seeds, self._tuned = seeds, dict[tuple[str, str], Record]()
        self._fitted = set[tuple[str, str, int]]()
        self._given = set[tuple[str, str, bool]]()
        self._wanted = [
            (row, task) for row in wanted for task in tasks
            if row is None or task in row.tasks
        ]  # fmt: skip
        for record in done:
            self.add(record)
        tunings = {(_name(row and row.tuned), tuned_on(row, task)) for row, task in self._wanted}
        runs = {(_name(row), task, seed) for row, task in self._wanted for seed in range(seeds)}
        self.left = len(tunings - self._tuned.keys()) + len(runs - self._fitted)

    def add(self, record: Record) -> None:
        """Take in a finished run."""
        if record["what"] == "tuned":
            self._tuned[record["row"], record["task"]] = record["settings"]
        else:
            self._fitted.add((record["row"], record["task"], record["seed"]))

    def next(self, task: str | None) -> Job | None:
        """A job that nobody has yet, of this task if there is one; None where all wait."""
        jobs = [job for row, where in self._wanted if (job := self._job(row, where))]
        if not jobs:
            return None
        same = [job for job in jobs if job.task == task]
        chosen = same[0] if same else self._emptiest(jobs)
        self._given.add(_key(chosen))
        return chosen

    def _emptiest(self, jobs: list[Job]) -> Job:
        """The first job of the task that has most of them."""
        counts = {job.task: sum(other.task == job.task for other in jobs) for job in jobs}
        return max(jobs, key=lambda job: counts[job.task])

    def _job(self, row: Row | None, task: str) -> Job | None:
        where = tuned_on(row, task)
        settings = self._tuned.get((_name(row and row.tuned), where))
        if settings is None:
            job = Job(row and row.tuned, where)
        else:
            seeds = range(self._seeds)
            left = tuple(s for s in seeds if (_name(row), task, s) not in self._fitted)
            if not left:
                return None
            job = Job(row, task, settings, left)
        return None if _key(job) in self._given else job


def _name(row: Row | None) -> str:
    return WHOLE if row is None else row.name


def _key(job: Job) -> tuple[str, str, bool]:
    return job.name, job.task, job.settings is None


class Crew:
    """Processes that share a device, each on one task for as long as it has jobs."""

    def __init__(self, options: Options, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: dict[Any, str | None] = {}
        self._idle: list[Any] = []
        for index in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(asdict(options), index, theirs))
            process.daemon = True
            process.start()
            self._pipes[ours] = None
            self._idle.append(ours)

    def work(self, plan: Plan, keep: Any, until: float) -> None:
        """Hand out jobs until there are none, or time is over."""
        busy: set[Any] = set()
        while True:
            for pipe in list(self._idle):
                job = plan.next(self._pipes[pipe]) if time.monotonic() < until else None
                if job is not None:
                    self._idle.remove(pipe)
                    busy.add(pipe)
                    self._pipes[pipe] = job.task
                    pipe.send(job)
            if not busy:
                return
            for pipe in wait(list(busy)):
                message = pipe.recv()  # type: ignore[union-attr]
                if isinstance(message, dict):
                    keep(message)
                else:
                    if message:
                        print(message, file=sys.stderr)
                    busy.discard(pipe)
                    self._idle.append(pipe)


def _work(options: Record, index: int, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    if options["device"] == "cuda":  # in turns, where there are several
        torch.cuda.set_device(index % torch.cuda.device_count())
        options["device"] = f"cuda:{torch.cuda.current_device()}"
    bench = Bench(Options(**options))
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:  # there is no more to do
            return
        try:
            for record in bench.run(job):
                pipe.send(record)
            pipe.send("")
        except Exception as error:  # one row that fails must not stop the others
            pipe.send(f"{job.name} on {job.task}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
