"""A fit of the runtime as a peer: all of `fit` is timed, its adapters are judged afterwards."""

from __future__ import annotations

import time
from typing import Any

from _contract import Job, marks, memory
from _costs import Costs
from _examples import read_examples

from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Personalizer, Progress, Report
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.tokenizer import Tokenizer

__all__ = ["fitted"]

Times = tuple[int, float, float]  # step, seconds, processor's seconds


def fitted(job: Job, me: Personalizer) -> dict[str, Any]:
    """Learn with default settings; of an `estimator` and `steps` in the job's, with those.

    `bounded` in them: for as long as the job says at most, caching and all else in it.
    """
    machine = memory()
    examples, held = read_examples(job.task)
    machine.release_freed()
    loaded = machine.resident_mb()
    machine.reset_peak()
    report, times = _fit(job, me, examples)
    peak, user_bytes = machine.peak_mb(), me.store_bytes
    looks = sorted({min(report.steps, max(1, round(mark))) for mark in marks(report.steps)})
    results = me.evaluate(held, [0, *me.replay(looks), me.version])
    tokens = _tokens(me, examples, report)
    where = [(0, 0.0, 0.0), *(times[step] for step in looks), times[-1]]
    points = [
        {
            "step": step, "seconds": seconds, "cpu_seconds": processor,
            "tokens": tokens[step], "loss": r.loss, "accuracy": r.accuracy,
        }
        for (step, seconds, processor), r in zip(where, results, strict=True)
    ]  # fmt: skip
    return {
        "points": points, "steps": report.steps, "peak_mb": peak, "loaded_mb": loaded,
        "size": report.adapter_size, "user_bytes": user_bytes,
        "notes": f"{report.verdict}; prompts were cached in {report.prefill_seconds:.0f} s",
    }  # fmt: skip


def _fit(job: Job, me: Personalizer, examples: list[Example]) -> tuple[Report, list[Times]]:
    """The report, and when each step was done, then when the fit was."""
    began, processor = time.perf_counter(), time.process_time()
    times: list[Times] = []

    def done(step: int) -> None:
        times.append((step, time.perf_counter() - began, time.process_time() - processor))

    def stepped(progress: Progress) -> None:
        done(progress.step)

    estimator, steps = job.settings.get("estimator"), job.settings.get("steps")
    chosen = bool(examples[0].choices)
    hyper = Hyperparameters.suited(chosen, estimator) if estimator else None
    done(0)
    budget = Budget(steps=steps, seconds=job.seconds if job.settings.get("bounded") else None)
    report = me.fit(examples, budget, stepped, hyper, job.seed)
    done(report.steps)
    return report, times


def _tokens(me: Personalizer, examples: list[Example], report: Report) -> dict[int, int]:
    """Forward tokens, in tokens through all layers, until each step."""
    manifest = me.bundle.manifest
    costs, chosen = Costs.of(manifest), bool(examples[0].choices)
    hyper = Hyperparameters.from_dict(report.hyperparameters)
    encoder = Encoder(Tokenizer.of(me.bundle), manifest)
    before = costs.before(manifest, encoder, examples, hyper, hyper.lanes)
    steps = {event.step: round(before + event.tokens * costs.row(chosen)) for event in report.curve}
    return {0: 0, **steps}
