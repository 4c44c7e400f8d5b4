"""Time, tokens and memory to a held-out accuracy: ours against first-order LoRA with PEFT.

Both sides get the same weights, sentences, threads and machine; each runs in a process of its own,
one after the other, seed by seed. Times leave out loading and evaluation; ours includes caching the
prompts and watching the held-out loss.

    python benchmarks/first_order.py --json                               # about an hour on 2 cores
    python benchmarks/first_order.py --seeds 1 --test 500 --target 0.8    # about ten minutes
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from _common import parser

from dsa_edge.cli._demo import demo_bundle

HERE = Path(__file__).parent


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--train", type=int, default=512, help="sentences to learn from")
    made.add_argument("--test", type=int, default=2000, help="held-out sentences")
    made.add_argument("--target", type=float, default=0.84, help="held-out accuracy")
    made.add_argument(
        "--same-prompts", action="store_true", help="LoRA gets our worked examples as well"
    )
    made.add_argument("--threads", type=int, default=os.cpu_count())
    made.add_argument("--steps", type=int, default=None, help="our steps (default: the runtime's)")
    made.add_argument("--hyper", type=json.loads, default={}, help="our hyper-parameters as JSON")
    made.add_argument("--lora-steps", type=int, default=120)
    made.add_argument("--lora-rate", type=float, default=1e-3, help="best of 3e-4, 1e-3, 3e-3")
    made.add_argument("--checkpointing", action="store_true", help="LoRA recomputes activations")
    made.add_argument("--only", choices=["ours", "lora"], help="run one side alone")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    runs = [run(seed, bundle, arguments) for seed in range(arguments.seeds)]
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {arguments.threads} threads",
        "target": arguments.target,
        "runs": runs,
        "summary": summary(runs, arguments.target),
    }
    print(json.dumps(result) if arguments.json else text(result))


def run(seed: int, bundle: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one seed."""
    common = {name: getattr(arguments, name) for name in ("train", "test", "target", "threads")} | {
        "seed": seed
    }
    ours = {
        "bundle": str(bundle), "steps": arguments.steps, "every": 10,
        "hyperparameters": arguments.hyper,
    }  # fmt: skip
    lora = {
        "steps": arguments.lora_steps, "every": 10, "rate": arguments.lora_rate,
        "checkpointing": arguments.checkpointing,
    }  # fmt: skip
    result: dict[str, Any] = {"seed": seed}
    if arguments.only != "lora":
        result["ours"] = call("_ours.py", common | ours)
    if arguments.only != "ours":
        shown = arguments.same_prompts and "ours" in result
        template = result["ours"]["template"] if shown else None
        result["lora"] = call("_lora.py", common | lora | {"template": template})
    if "ours" in result:
        del result["ours"]["template"]  # holds sentences of the data set
    return result


def call(script: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run one side in its own process, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / script)], input=json.dumps(job), capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    first = next((p for p in result["curve"] if p["accuracy"] >= job["target"]), None)
    result["best_accuracy"] = max(p["accuracy"] for p in result["curve"])
    result["target_seconds"] = first["seconds"] if first else None
    result["target_step"] = first["step"] if first else None
    reached = f"{first['seconds']:.0f} s" if first else "never"
    print(f"{script} seed {job['seed']}: {job['target']} after {reached}", file=sys.stderr)
    return result


def summary(runs: list[dict[str, Any]], target: float) -> dict[str, Any]:
    """Medians over the seeds, and the ratios that the issue asks for."""
    out: dict[str, Any] = {}
    for side in ("ours", "lora"):
        sides = [run[side] for run in runs if side in run]
        if not sides:
            continue
        times = [s["target_seconds"] for s in sides if s["target_seconds"] is not None]
        out[side] = {
            "reached": f"{len(times)} of {len(sides)}",
            "seconds_to_target": statistics.median(times) if times else None,
            "best_accuracy": statistics.median(s["best_accuracy"] for s in sides),
            "peak_mb": statistics.median(
                s["report"]["peak_mb"] if side == "ours" else s["peak_mb"] for s in sides
            ),
        }
    if len(out) == 2:
        ours, lora = out["ours"], out["lora"]
        both = ours["seconds_to_target"] and lora["seconds_to_target"]
        out["time_ratio"] = ours["seconds_to_target"] / lora["seconds_to_target"] if both else None
        out["memory_ratio"] = ours["peak_mb"] / lora["peak_mb"]
    return out


def text(result: dict[str, Any]) -> str:
    lines = [f"{result['machine']}; held-out accuracy {result['target']}"]
    for side, values in result["summary"].items():
        lines.append(f"{side:<14}{values}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
