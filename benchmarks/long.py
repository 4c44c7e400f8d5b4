"""Long prompts: what they cost by full and by shifted sparse attention, and what is learned by it.

    python benchmarks/long.py --json                  # all parts; minutes on a quiet machine
    python benchmarks/long.py --part prefill          # seconds and peak memory by length
    python benchmarks/long.py --part budget           # fit, plan, choose, generate under memory_mb
    python benchmarks/long.py --part carry            # learned by sparse, used by full attention

SmolLM2-135M, exported with `--attention-group` into --folder; each measurement has a process of its
own. The task of `carry` is the news of `_tasks.py` behind worked examples that all prompts share.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import parser

from dsa_edge.demo import find_model

CHILD = Path(__file__).with_name("_long_child.py")
LENGTHS = (512, 1024, 2048, 4096, 8000)  # tokens of a prompt; 8,192 are the base's context
GROUP = 1024  # of the bundle, and of `prefill` and `budget`
BOUNDS = {2000: 500, 4000: 650, 8000: 900}  # MB allowed for prompts of so many tokens
CARRIED = ((512, 0), (512, 1), (1024, 0), (1024, 1))  # group and seed of `carry`
PARTS = ("prefill", "budget", "carry")


def main() -> None:
    made = parser(__doc__)
    made.set_defaults(folder="demo/long")
    made.add_argument("--part", choices=PARTS, help="one part alone")
    made.add_argument("--plot", metavar="FILE", help="draw what `prefill` found")
    made.add_argument("--repeats", type=int, default=1, help="runs of a prefill; the best counts")
    made.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="of `prefill`")
    made.add_argument("--bounds", default=",".join(map(str, BOUNDS)), help="lengths of `budget`")
    arguments = made.parse_args()
    bundle = exported(Path(arguments.folder))
    wanted = (arguments.part,) if arguments.part else PARTS
    result: dict[str, Any] = {}
    if "prefill" in wanted:
        lengths = [int(text) for text in arguments.lengths.split(",")]
        result["prefill"] = [
            child("prefill", bundle, length, group, arguments.repeats)
            for length in lengths
            for group in (0, GROUP)
        ]
    if "budget" in wanted:
        result["budget"] = [
            child("budget", bundle, length, BOUNDS[int(length)], verb)
            for length in arguments.bounds.split(",")
            for verb in ("choose", "generate", "plan", "fit")
        ]
    if "carry" in wanted:
        result["carry"] = [child("carry", bundle, *case) for case in CARRIED]
    if arguments.plot and "prefill" in result:
        plot(result["prefill"], Path(arguments.plot))
    print(json.dumps(result) if arguments.json else text(result))


def exported(folder: Path) -> Path:
    """The bundle, exported unless it is there."""
    bundle = folder / "smollm2.dsa"
    if not bundle.is_dir():
        command = [sys.executable, "-m", "dsa_edge.cli", "export", str(find_model()), str(bundle)]
        subprocess.run([*command, "--attention-group", str(GROUP)], check=True)
    return bundle


def child(*what: object) -> dict[str, Any]:
    """One process; what it told."""
    command = [sys.executable, str(CHILD), *map(str, what)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(told), file=sys.stderr, flush=True)
    return told


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """CPU seconds and peak memory of a prompt against its length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for group, label in ((None, "full attention"), (GROUP, f"shifted sparse, groups of {GROUP:,}")):
        some = [row for row in rows if row["group"] == group]
        for axis, name in zip(axes, ("cpu_seconds", "peak_mb"), strict=True):
            axis.plot([r["tokens"] for r in some], [r[name] for r in some], "o-", label=label)
    for axis, title in zip(axes, ("CPU, s (one thread)", "peak of the process, MB"), strict=True):
        axis.set(xlabel="prompt, tokens", ylabel=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    drawn.tight_layout()
    drawn.savefig(file, dpi=120)


def text(result: dict[str, Any]) -> str:
    """What was measured, a line each."""
    lines: list[str] = []
    for part, rows in result.items():
        lines += [part, *(str(row) for row in _rows(rows))]
    return "\n".join(lines)


def _rows(rows: Any) -> Sequence[Any]:
    return rows if isinstance(rows, list) else [rows]


if __name__ == "__main__":
    main()
