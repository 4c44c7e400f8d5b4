"""Seconds and peak memory of a few rows of `methods.py`, on a CPU, each in a process of its own.

    python benchmarks/_methods_cpu.py > docs/results/methods/cpu.json     # ten minutes on two cores

Ours runs on ONNX Runtime, as on a device: prompts are cached, then steps are run. LoRA on whole
sentences runs in torch, float32, with and without checkpoints of the layers' inputs. One thread
each: torch's wait for each other by spinning, which takes ten times as long beside other programs.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = 64  # whose prompts are cached; a second fit of them would take as long
STEPS = {"default": 8, "one-sided": 8, "whole": 2, "whole, checkpoints": 2}
TASKS = "reviews", "news"  # prompts of 32 and of 258 tokens, means


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(_run(json.loads(sys.argv[1]))))
        return
    from dsa_edge.cli._demo import demo_bundle

    bundle = str(demo_bundle(Path("demo")))
    rows = []
    for task in TASKS:
        for side in STEPS:
            job = json.dumps({"bundle": bundle, "task": task, "side": side})
            command = [sys.executable, __file__, job]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{side} on {task} failed:\n{done.stderr[-2000:]}")
            rows.append({"task": task, "side": side, **json.loads(done.stdout.splitlines()[-1])})
            print(rows[-1], file=sys.stderr)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, one thread, load {os.getloadavg()[0]:.1f}"
    )
    print(json.dumps({"machine": machine, "rows": rows}, indent=1))


def _run(job: dict[str, Any]) -> dict[str, float]:
    whole = job["side"].startswith("whole")
    return _whole(job) if whole else _ours(job)


def _ours(job: dict[str, Any]) -> dict[str, float]:
    """A short fit of the exported bundle; memory is that of the whole fit."""
    from _methods_rows import QUERIES
    from _tasks import load_task

    from dsa_edge.runtime import Budget, Personalizer
    from dsa_edge.runtime._hyperparameters import Hyperparameters

    estimator = "antithetic" if job["side"] == "default" else job["side"]
    suited = Hyperparameters.suited(True, estimator)
    hyper = replace(suited, queries=QUERIES.get(estimator, suited.queries))
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(job["bundle"], store, threads=1) as me,
    ):
        examples = load_task(job["task"], me._tokenizer).learn(0)[:EXAMPLES]
        budget = Budget(steps=STEPS[job["side"]])
        report = me.fit(examples, budget, hyperparameters=hyper)
    return {
        "step_seconds": report.step_seconds,
        "prompt_seconds": report.prefill_seconds / EXAMPLES,
        "peak_mb": report.peak_mb,
    }


def _whole(job: dict[str, Any]) -> dict[str, float]:
    """A few steps; memory without what loading took."""
    import torch
    from _tasks import load_task
    from _torch_engine import dense_decoder
    from _whole_lora import Lora, learn

    from dsa_edge.bundle import Bundle
    from dsa_edge.runtime._encode import Encoder
    from dsa_edge.runtime._memory import peak_mb, release_freed, reset_peak
    from dsa_edge.tokenizer import Tokenizer

    torch.set_num_threads(1)
    bundle = Bundle.open(job["bundle"], check_hashes=False)
    decoder, tokenizer = dense_decoder(bundle), Tokenizer.of(bundle)
    examples = load_task(job["task"], tokenizer).learn(0)[:EXAMPLES]
    encoded = Encoder(tokenizer, bundle.manifest).encode_all(examples)
    release_freed()
    reset_peak()
    checkpoints, times = job["side"].endswith("checkpoints"), [time.perf_counter()]
    steps = learn(decoder, Lora(decoder, 0), encoded, 1e-3, STEPS[job["side"]], 0, checkpoints)
    times += [time.perf_counter() for _ in steps]
    return {"step_seconds": float(np.median(np.diff(times))), "peak_mb": peak_mb()}


if __name__ == "__main__":
    main()
