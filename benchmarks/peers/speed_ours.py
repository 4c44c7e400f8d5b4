"""Tokens a second of dsa-edge, with its adapter: the numbers of `dsa-edge bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _contract import Job, answer
from _speed import NEW, PROMPT, REPEATS, WARMUP


def run(job: Job) -> dict[str, Any]:
    """One bench for the times, one in another process for the memory."""
    times, peak = _bench(job, "time"), _bench(job, "memory")["peak_mb"]
    tokens, seconds = times["tokens"], times["seconds"]
    files = [file for file in Path(job.bundle).rglob("*") if file.is_file()]
    return {
        "prompt": [tokens["prompt"] / s for s in seconds["prompt"]],
        "generate": [tokens["generate"] / s for s in seconds["generate"]],
        "switch_ms": [1e3 * s for s in seconds["switch"]],
        "load_seconds": min(seconds["load"]),
        "peak_mb": peak,
        "bytes": sum(file.stat().st_size for file in files),
        "notes": "with an adapter, read from the user's store; memory with a step of learning",
    }


def _bench(job: Job, part: str) -> dict[str, Any]:
    options = {
        "pass": part, "prompt-tokens": PROMPT, "new-tokens": NEW, "warmup": WARMUP,
        "repeats": REPEATS, "threads": job.threads,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "dsa_edge.runtime.bench", job.bundle, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    answer(run)
