"""What `plan` predicts against what `fit` then takes: peak memory, disk and time.

Three geometries, and one of them with a bound on memory that sends prompts to a file. Plan and fit
have processes of their own, and stores that are new.

    python benchmarks/bounds.py --json [--train 512] [--steps 40]

Exits with 1 if a peak, or what was added on disk, is off by more than 10 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _common import parser
from _medium import medium_bundle
from tqdm import tqdm

from dsa_edge.cli._demo import demo_bundle

CHILD = Path(__file__).with_name("_bounds_child.py")
JUDGED = ("peak_mb", "disk_mb")  # time depends on what else the machine does
ALLOWED = 0.1


@dataclass(frozen=True)
class Case:
    """What one plan and one fit are about. model: None is the demo's."""

    name: str
    model: str | None
    task: str
    train: int
    steps: int
    memory_mb: float | None = None


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=512, help="examples to learn from")
    made.add_argument("--steps", type=int, default=40)
    arguments = made.parse_args()
    folder, result = Path(arguments.folder), []
    runs = cases(arguments.train, arguments.steps)
    with tqdm(total=2 * len(runs), unit="run", disable=arguments.json, leave=False) as bar:
        for case in runs:
            model = demo_bundle(folder) if case.model is None else medium_bundle(folder, case.model)
            told = []
            for what in ("plan", "fit"):
                bar.set_description(f"{case.name}: {what}")
                told.append(run(what, model, case))
                bar.update()
            result.append(compared(case, *told))
    print(json.dumps(result) if arguments.json else text(result))
    return 1 if any(row["off"] for row in result) else 0


def cases(train: int, steps: int) -> list[Case]:
    """Prompts of the first fit into memory, the others' go to a file."""
    return [
        Case("qwen3-medium, in memory", "qwen3-medium", "words", train // 2, steps),
        Case("smollm2", None, "sentences", train, steps),
        Case("gemma3-wide, whole vocabulary", "gemma3-wide", "sequences", train // 8, steps),
        Case("qwen3-medium, 240 MB", "qwen3-medium", "words", 2 * train, steps, 240),
    ]


def run(what: str, bundle: Path, case: Case) -> dict[str, Any]:
    """One process; what it told."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, str(CHILD), what, str(bundle), store, json.dumps(asdict(case))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def compared(case: Case, plan: dict[str, Any], fit: dict[str, Any]) -> dict[str, Any]:
    """Predicted, measured, and their ratio."""
    names = (*JUDGED, "seconds")
    ratios = {name: plan[name] / fit[name] for name in names}
    return {
        **asdict(case),
        "predicted": {name: plan[name] for name in (*names, "disk_bound_mb")},
        "measured": {name: fit[name] for name in (*names, "verdict", "steps")},
        "ratio": ratios,
        "off": [name for name in JUDGED if abs(ratios[name] - 1) > ALLOWED],
    }


def text(result: list[dict[str, Any]]) -> str:
    lines = [f"{'':32}{'peak, MB':>22}{'disk, MB':>22}{'time, s':>20}"]
    for row in result:
        told = [
            f"{row['predicted'][name]:.{digits}f} / {row['measured'][name]:.{digits}f}"
            f" = {row['ratio'][name]:.2f}"
            for name, digits in (("peak_mb", 0), ("disk_mb", 2), ("seconds", 0))
        ]
        lines.append(f"{row['name']:32}{told[0]:>22}{told[1]:>22}{told[2]:>20}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
