"""Exact gradients as forward graphs against antithetic probes: same examples, base and steps.

    python benchmarks/exact.py --json [--tasks reviews,posts] [--learn 256] [--test 200] [--seeds 3]
    python benchmarks/exact.py --parts --tasks reviews      # the last block alone, and mixed

Each fit has a process of its own. Forward tokens count all layers' rows of one lane as one, and a
step back as two; prompts are counted apart. Losses are nats a token for free responses, nats an
example for choices. The bundle is exported with `--gradients` where it is
missing, beside the demo's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from _common import parser
from _mixed import PARTS, exact_in_part
from _tasks import TASKS, load_task
from tqdm import tqdm

from dsa_edge.bundle import Bundle
from dsa_edge.demo import find_model
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer
from dsa_edge.tokenizer import Tokenizer

ESTIMATORS = ("antithetic", "exact")
KEPT = ("accuracy", "loss", "tokens", "step_seconds", "prefill_seconds", "fit_seconds", "peak_mb")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--tasks", default=",".join(TASKS), help="by comma (default: all four)")
    made.add_argument("--learn", type=int, default=256, help="examples to learn from")
    made.add_argument("--test", type=int, default=200, help="held-out examples")
    made.add_argument("--steps", type=int, help="of both (default: what a fit takes)")
    made.add_argument("--rate", type=float, help="of exact gradients, whole or in part")
    made.add_argument("--parts", action="store_true", help="exact gradients of the last block too")
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--one", nargs=3, metavar=("TASK", "ESTIMATOR", "SEED"), help="this fit")
    arguments = made.parse_args()
    bundle = gradient_bundle(Path(arguments.folder))
    if arguments.one:
        print(json.dumps(fit(bundle, arguments)))
        return
    wanted = [
        (task, estimator, seed)
        for task in arguments.tasks.split(",")
        for seed in range(arguments.seeds)
        for estimator in (*ESTIMATORS, *(PARTS if arguments.parts else ()))
    ]
    rows = [child(each) for each in tqdm(wanted, unit="fit", disable=arguments.json)]
    print(json.dumps(rows) if arguments.json else text(rows))


def gradient_bundle(folder: Path) -> Path:
    """The demo's model with graphs of gradients, exported where it is missing."""
    bundle = folder / "smollm2-gradients.dsa"
    if not (bundle / "manifest.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dsa_edge.cli", "export", str(find_model()), str(bundle)]
        subprocess.run([*command, "--gradients", "--json"], stdout=subprocess.DEVNULL, check=True)
    return bundle


def child(wanted: tuple[str, str, int]) -> dict[str, Any]:
    """One fit in a process of its own."""
    command = [sys.executable, *sys.argv, "--one", *map(str, wanted)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def fit(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Learn one task with one estimator, and what came of it."""
    name, estimator, seed = arguments.one
    opened = Bundle.open(path, check_hashes=False)
    task = load_task(name, Tokenizer.of(opened))
    examples, held = task.learn(int(seed))[: arguments.learn], list(task.held_out[: arguments.test])
    with Personalizer.open(path, check_hashes=False) as me:
        usual = "exact" if estimator in PARTS else estimator
        hyper = replace(Hyperparameters.suited(task.choices, usual), batch=16)
        if arguments.rate and usual == "exact":
            hyper = replace(hyper, rate=arguments.rate)
        part: AbstractContextManager[None] = nullcontext()
        if estimator in PARTS:
            part = exact_in_part(me.bundle.manifest, PARTS[estimator], int(seed))
        with part:
            report = me.fit(examples, Budget(steps=arguments.steps), None, hyper, int(seed))
        before, after = me.evaluate(held, [0, me.version])
    return {
        "task": name,
        "estimator": estimator,
        "rate": hyper.rate,
        "seed": int(seed),
        "verdict": report.verdict,
        "accuracy_before": before.accuracy,
        "accuracy": after.accuracy,
        "loss_before": before.loss,
        "loss": after.loss,
        **{name: getattr(report, name) for name in KEPT if hasattr(report, name)},
    }


def text(rows: list[dict[str, Any]]) -> str:
    """Medians over the seeds."""
    lines = [
        f"{'task':10}{'estimator':39}{'accuracy':>16}{'nats':>16}{'tokens':>9}{'s a step':>10}"
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        for estimator in dict.fromkeys(row["estimator"] for row in rows):
            own = [r for r in rows if (r["task"], r["estimator"]) == (task, estimator)]
            accuracy = "" if own[0]["accuracy"] is None else _change(own, "accuracy")
            lines.append(
                f"{task:10}{estimator:39}{accuracy:>16}{_change(own, 'loss'):>16}"
                f"{median(r['tokens'] for r in own):>9.0f}"
                f"{median(r['step_seconds'] for r in own):>10.2f}"
            )
    return "\n".join(lines)


def _change(rows: list[dict[str, Any]], name: str) -> str:
    before, after = (median(row[key] for row in rows) for key in (f"{name}_before", name))
    return f"{before:.3f} → {after:.3f}"


if __name__ == "__main__":
    main()
