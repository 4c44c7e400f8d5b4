"""One process of `methods.py`: tunes a row, or fits it on a task with every seed.

Runs share the base's weights and the prompts' caches, which no run changes; engine, personalizer,
store, optimizer and random streams are new for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _costs import Costs
from _methods_rows import WHOLE, Row, lanes_of, settings, steps_of
from _sweeper import DevicePrompts, Sweeper
from _tasks import Task, load_task
from _torch_engine import TorchEngine, adapted, dense_decoder
from _whole_lora import BATCH, PASSES, Lora, learn, measure

from dsa_edge.bundle import Bundle
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._report import Report
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Bench", "Job", "Options", "tuned_on"]

MARKS = (0.02, 0.04, 0.06, 0.08, *np.arange(0.1, 1.001, 0.05).tolist())  # of a run, evaluated
WHOLE_MARKS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of whole sentences: costly
WHOLE_RATES = 1.0, 0.1, 0.3, 3.0, 10.0, 0.45, 0.65, 1.5, 2.2  # × 1e-3: nine, as for every row
Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What all runs of a sweep share."""

    bundle: str
    device: str = "cpu"
    activations: str = "group"
    tf32: str = ""  # tasks, by comma, whose products are in TF32
    steps: int = 100
    tune_steps: int = 40
    seeds: int = 3
    folder: str = "build/methods"


@dataclass(frozen=True)
class Job:
    """Tune a row for a task, or fit it there. row: None is LoRA on whole sentences.

    settings: what tuning found; none tunes. seeds: those that are still to be run.
    """

    row: Row | None
    task: str
    settings: Record | None = None
    seeds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of the row."""
        return WHOLE if self.row is None else self.row.name


def tuned_on(row: Row | None, task: str) -> str:
    """The task whose tuning examples settle a row's settings for a task.

    One setting serves all tasks with choices. LoRA on whole sentences is tuned on each: it must not
    lose for a rate that suits another length of prompts.
    """
    return task if row is None or task == "posts" else "reviews"


class Bench:
    """A base on a device, and the prompts of one task at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.bundle = Bundle.open(options.bundle, check_hashes=False)
        self.decoder = dense_decoder(self.bundle, options.activations).to(options.device)
        self.tokenizer = Tokenizer.of(self.bundle)
        self.encoder = Encoder(self.tokenizer, self.bundle.manifest)
        self.costs = Costs.of(self.bundle.manifest)
        self._prompts: dict[str, DevicePrompts] = {}
        self._task: Task | None = None

    def task(self, name: str) -> Task:
        """A task; the prompts of the one before are forgotten."""
        if self._task is None or self._task.name != name:
            self._prompts.clear()
            self._task = load_task(name, self.tokenizer, Path(self.options.folder))
        fast = name in self.options.tf32.split(",")
        torch.set_float32_matmul_precision("high" if fast else "highest")
        return self._task

    def run(self, job: Job) -> Iterator[Record]:
        """The records of a job, one for tuning, one for each seed."""
        task = self.task(job.task)
        side = Whole(self, task) if job.row is None else Adapted(self, task, job.row)
        if job.settings is None:
            yield self._signed(job, {"what": "tuned", **side.tuned()})
            return
        for seed in job.seeds:
            began = time.perf_counter()
            record = side.fit(job.settings, seed)
            seconds = time.perf_counter() - began
            yield self._signed(job, {"what": "fit", "seed": seed, **record, "wall": seconds})

    def _signed(self, job: Job, record: Record) -> Record:
        row = {} if job.row is None else asdict(job.row)
        return {"row": job.name, "task": job.task, **row, **record}

    def sweeper(self, engine: TorchEngine) -> Sweeper:
        """A new user."""
        return Sweeper(engine, self._prompts)


class Adapted:
    """A row whose adapter the runtime itself trains."""

    def __init__(self, bench: Bench, task: Task, row: Row) -> None:
        self.bench, self.task, self.row = bench, task, row
        folder = Path(bench.options.folder)
        bundle, *rest = adapted(bench.bundle, row.spec, bench.decoder, folder)
        self.engine, self.size = TorchEngine(bundle, *rest), bundle.manifest.adapter_size

    def tuned(self) -> Record:
        """The best of nine settings, by the loss that a short fit ends with on other examples."""
        start, options = self.row.hyper(self.task.choices), self.bench.options
        tried: list[tuple[float, Hyperparameters]] = []
        rates: dict[float, float] = {}
        for _ in range(2):
            for hyper in settings(start, rates):
                steps = steps_of(hyper, self.size, options.tune_steps)
                me, _ = self._fitted(list(self.task.tune_learn), hyper, 0, steps)
                tried.append((me.evaluate(self.task.tune_held)[0].loss, hyper))
            rates = {hyper.rate / start.rate: loss for loss, hyper in tried}
        loss, best = min(tried, key=lambda pair: pair[0])
        trials = [[hyper.epsilon, hyper.rate, loss] for loss, hyper in tried]
        return {"settings": asdict(best), "loss": loss, "trials": trials}

    def fit(self, chosen: Record, seed: int) -> Record:
        """One fit with one seed, and how its adapters do on held-out examples."""
        hyper = Hyperparameters.from_dict(chosen)
        examples = self.task.learn(seed)
        steps = steps_of(hyper, self.size, self.bench.options.steps * self.row.times)
        me, report = self._fitted(examples, hyper, seed, steps)
        marks = marked(report.steps, MARKS)
        results = me.evaluate(self.task.held_out, [0, *me.replay(marks), me.version])
        tokens = self._tokens(examples, hyper, report)
        values = [r.loss if r.accuracy is None else r.accuracy for r in results]
        return {
            "size": self.size, "steps": report.steps, "verdict": report.verdict,
            "before": values[0], "after": values[-1], "loss": results[-1].loss,
            "curve": [[s, round(tokens[s]), v] for s, v in zip(marks, values[1:-1], strict=True)],
            "tokens": round(tokens[report.steps]), "hyper": report.hyperparameters,
            "width": me._width(hyper), "notes": report.notes, "lanes": lanes_of(hyper, self.size),
        }  # fmt: skip

    def _fitted(
        self, examples: list[Example], hyper: Hyperparameters, seed: int, steps: int
    ) -> tuple[Sweeper, Report]:
        me = self.bench.sweeper(self.engine)
        report = me.fit(examples, Budget(steps=steps), hyperparameters=hyper, seed=seed)
        return me, report

    def _tokens(
        self, examples: list[Example], hyper: Hyperparameters, report: Report
    ) -> dict[int, float]:
        """Forward tokens until each step, prompts and looks at held-out examples among them."""
        bench, row = self.bench, self.bench.costs.row(self.task.choices)
        before = bench.costs.before(
            bench.bundle.manifest, bench.encoder, examples, hyper, lanes_of(hyper, self.size)
        )
        return {event.step: before + event.tokens * row for event in report.curve}


class Whole:
    """LoRA on whole sentences by first order; in TF32 on a GPU, where its products take longest."""

    def __init__(self, bench: Bench, task: Task) -> None:
        self.bench, self.task = bench, task
        torch.set_float32_matmul_precision("high")

    def tuned(self) -> Record:
        """The best of nine rates."""
        encode, steps = self.bench.encoder.encode_all, self.bench.options.tune_steps
        examples, held = encode(self.task.tune_learn), encode(self.task.tune_held)
        tried = []
        for factor in WHOLE_RATES:
            lora = Lora(self.bench.decoder, 0)
            for _ in learn(self.bench.decoder, lora, examples, 1e-3 * factor, steps, 0):
                pass
            loss = measure(self.bench.decoder, lora, held)[0]
            tried.append((loss if np.isfinite(loss) else 1e9, 1e-3 * factor))
        loss, rate = min(tried)
        trials = [[0, rate, loss] for loss, rate in tried]
        return {"settings": {"rate": rate}, "loss": loss, "trials": trials}

    def fit(self, chosen: Record, seed: int) -> Record:
        """One run with one seed; the last adapter is kept, for nothing is held out."""
        bench, encode = self.bench, self.bench.encoder.encode_all
        held, examples = encode(self.task.held_out), encode(self.task.learn(seed))
        lora = Lora(bench.decoder, seed)
        before, curve, at = self._value(lora, held), [], 0
        marks = marked(bench.options.steps, WHOLE_MARKS)
        steps = learn(bench.decoder, lora, examples, chosen["rate"], bench.options.steps, seed)
        heads = BATCH * sum(float(e.items[0].weights.sum()) for e in examples) / len(examples)
        for at, rows in enumerate(steps, start=1):
            if at in marks:
                asked = 0.0 if self.task.choices else at * heads
                tokens = PASSES * bench.costs.whole(rows, round(asked))
                curve.append([at, round(tokens), self._value(lora, held)])
        return {
            "size": lora.size, "steps": at, "verdict": "", "before": before, "curve": curve,
            "after": curve[-1][2], "tokens": curve[-1][1], "hyper": chosen,
        }  # fmt: skip

    def _value(self, lora: Lora, held: Any) -> float:
        loss, accuracy = measure(self.bench.decoder, lora, held)
        return accuracy if self.task.choices else loss


def marked(steps: int, shares: tuple[float, ...]) -> list[int]:
    """Steps at these shares of a run."""
    return sorted({max(1, round(share * steps)) for share in shares} | {steps})
