"""One process of `long.py`: prints one JSON object.

python benchmarks/_long_child.py prefill BUNDLE TOKENS GROUP REPEATS      # group 0: full attention
python benchmarks/_long_child.py budget BUNDLE TOKENS MB choose|generate|plan|fit
python benchmarks/_long_child.py carry BUNDLE GROUP SEED
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from _tasks import load_task

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import BudgetError
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._engine import Context
from dsa_edge.runtime._memory import peak_mb, reset_peak, resident_mb, steady_peaks
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._plan import plan_chunks
from dsa_edge.runtime._prompts import no_prefix, run_prompt

LANES = 32  # of 16 directions and their opposites
CHOICES = (" negative", " positive")
# `carry`: worked examples that all prompts share, and the examples behind them.
SHOTS, LEARN, JUDGE, STEPS = 7, 64, 100, 80
DIRECTIONS, RADIUS, COMPARED = 32, 0.1, 16


def prefill(bundle: str, tokens: str, group: str, repeats: str) -> dict[str, Any]:
    """Seconds and peak memory of one prompt, and of a step's probes on one example of it.

    By one thread: more would wait for each other, and on a busy machine only its CPU time counts.
    """
    steady_peaks()
    opened = Bundle.open(bundle, check_hashes=False)
    engine, count, groups = OnnxEngine(opened, threads=1), int(tokens), int(group) or None
    chunks = plan_chunks(opened.manifest, Budget(), False)
    ids = np.random.default_rng(0).integers(0, 40_000, count)
    nothing = no_prefix(opened.manifest)
    run_prompt(engine, nothing, ids[:40], ids[:1], chunks, groups)  # loads the graph
    before, best, used = resident_mb(), np.inf, np.inf
    reset_peak()
    for _ in range(int(repeats)):
        wall, cpu = time.perf_counter(), time.process_time()
        cache, hidden = run_prompt(engine, nothing, ids, ids[:1], chunks, groups)
        best = min(best, time.perf_counter() - wall)
        used = min(used, time.process_time() - cpu)
    peak, first = peak_mb(), opened.manifest.split_layer
    engine.release("prefill")
    own = cache.keys[first:], cache.values[first:]
    context = Context(nothing.from_layer(first), hidden, *own, np.array([count]))
    lanes = np.zeros((LANES, opened.manifest.adapter_size), np.float32)
    steps = [_cpu(lambda: engine.choose(context, lanes, np.array([1, 2]))) for _ in range(5)]
    return {
        "tokens": count, "group": groups, "seconds": best, "cpu_seconds": used, "peak_mb": peak,
        "base_mb": before, "step_cpu_seconds": min(steps[1:]), "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }  # fmt: skip


def budget(bundle: str, tokens: str, mb: str, verb: str) -> dict[str, Any]:
    """What a verb takes of the memory that it may have, on prompts of so many tokens."""
    told: dict[str, Any] = {"verb": verb, "tokens": int(tokens), "memory_mb": float(mb)}
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(bundle, store, check_hashes=False) as me,
    ):
        examples, bound = _long(me, int(tokens)), Budget(steps=2, memory_mb=float(mb))
        began = time.perf_counter()
        try:
            told |= _run(me, verb, examples, bound)
        except BudgetError as error:
            told["refused"] = str(error)
    return {**told, "seconds": time.perf_counter() - began, "peak_mb": peak_mb()}


def _run(me: Personalizer, verb: str, examples: list[Example], bound: Budget) -> dict[str, Any]:
    prompt = examples[0].prompt
    if verb == "choose":
        return {"said": me.choose(prompt, CHOICES, budget=bound).text}
    if verb == "generate":
        return {"said": me.generate(prompt, 4, budget=bound)}
    if verb == "plan":
        plan = me.plan(examples, bound)
        return {"told_mb": plan.peak_mb, "told_seconds": plan.seconds}
    report = me.fit(examples, bound)
    return {"steps": report.steps, "step_seconds": report.step_seconds, "notes": report.notes}


def _long(me: Personalizer, tokens: int) -> list[Example]:
    """Two prompts of so many tokens, articles one after the other."""
    pool = load_task("news", me._tokenizer).pool
    text = "\n".join(example.prompt for example in pool[:60])
    ids = me.encode(text)
    made = []
    for index in range(2):
        start = 500 * index
        prompt = me._tokenizer.decode(ids[start : start + tokens - 40]) + "\nIn short:"
        made.append(Example(prompt, CHOICES[index], CHOICES))
    return made


def carry(bundle: str, group: str, seed: str) -> dict[str, Any]:
    """Fits on prompts run by full and by sparse attention, measured by full attention."""
    told: dict[str, Any] = {"group": int(group), "seed": int(seed), "learn": LEARN, "judge": JUDGE}
    with Personalizer.open(bundle, check_hashes=False) as me:
        me.bundle.manifest.decoder["attention_group"] = int(group)
        learn, judge = _news(me, int(seed))
        told["tokens"] = float(np.mean([len(me.encode(e.prompt)) for e in learn]))
        told["slopes"] = _slopes(me, learn[:COMPARED], int(group))
        adapters = [Adapter(me.adapter.vector)]
        for sparse in (False, True):
            me.rollback(0)
            me.sparse = sparse
            report = me.fit(learn, Budget(steps=STEPS), seed=int(seed))
            told["sparse" if sparse else "full"] = {
                "verdict": report.verdict, "prefill_seconds": report.prefill_seconds,
                "step_seconds": report.step_seconds, "held_out_before": asdict(report.before),
                "held_out_after": asdict(report.after), "notes": report.notes,
            }  # fmt: skip
            adapters.append(me.adapter)
        names = ("base", "after_full", "after_sparse")
        found = me.evaluate(judge, adapters)
        told["judged_by_full"] = {n: asdict(e) for n, e in zip(names, found, strict=True)}
    return told


def _news(me: Personalizer, seed: int) -> tuple[list[Example], list[Example]]:
    """Articles behind worked examples that all share: to learn from, and to judge by."""
    task = load_task("news", me._tokenizer)
    shots = [e.prompt + e.response for e in task.tune_learn[:SHOTS]]
    start = "\n\n".join(shots) + "\n\n"
    with_start = [replace(e, prompt=start + e.prompt) for e in (*task.learn(seed), *task.held_out)]
    return with_start[:LEARN], with_start[-JUDGE:]


def _slopes(me: Personalizer, examples: list[Example], sparse: int) -> dict[str, float]:
    """Losses and slopes along random signs on the same examples, by both kinds of prompts."""
    encoded = me._encoder.encode_all(examples)
    chunks = plan_chunks(me.bundle.manifest, Budget(), False)
    signs = np.random.default_rng(0).choice([-1, 1], (DIRECTIONS, me.adapter.vector.size))
    lanes = np.concatenate([RADIUS * signs, -RADIUS * signs]).astype(np.float32)
    batch, losses = np.arange(len(encoded)), []
    for group in (None, sparse):
        cache = PromptCache(me._engine, items_of(encoded), chunks, group=group)
        me._engine.release("prefill")
        losses.append(Objective(me._engine, encoded, cache, chunks)(batch, lanes).losses)
    slopes = [(x[:DIRECTIONS] - x[DIRECTIONS:]).mean(1) / (2 * RADIUS) for x in losses]
    each = [(x[:DIRECTIONS] - x[DIRECTIONS:]).ravel() for x in losses]
    return {
        "loss_full": float(losses[0].mean()), "loss_sparse": float(losses[1].mean()),
        "correlation_of_batch_slopes": float(np.corrcoef(*slopes)[0, 1]),
        "correlation_of_example_slopes": float(np.corrcoef(*each)[0, 1]),
    }  # fmt: skip


def _cpu(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    run = {"prefill": prefill, "budget": budget, "carry": carry}[sys.argv[1]]
    print(json.dumps(run(*sys.argv[2:])))
