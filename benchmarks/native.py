"""The native runner against the Python runtime on ExecuTorch: step, start, size, memory.

    make native && python benchmarks/native.py --json

Both run the same fits in processes of their own, in turns: the same examples, settings, seed and
kernels, so that their losses agree. A step is the median of a fit's; a ratio that of the rounds.
Memory is what `personalize` has resident at most, against 1.2 times the programs with their data
and the activations that ExecuTorch's memory plan asks for (layers take two arenas in turn).
Allocations are counted by the runner's own test, steps 2 to 8 and ten probes, SQLite left out.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _common import parser

from dsa_edge.bundle import Bundle
from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.examples import Example, read_examples
from dsa_edge.manifest import ExecutorchInfo

EXAMPLES, CHOICES = 64, tuple(f" {name}" for name in LABELS.names)
PROMPT = "Review: a waste of time .\nSentiment:"
LAST = 3  # words of a review that are to be written
ASKED = 1.2  # resident memory over programs, data and activations
CHILD = "--as-python"


@dataclass(frozen=True)
class Run:
    """What a process printed, and took: seconds from start to end, MB at its peak."""

    told: dict[str, Any]
    seconds: float
    peak_mb: float
    anonymous_mb: float
    file_mb: float


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--build", default="build/native", help="where `make native` built")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=16)
    made.add_argument(CHILD, help="fit or choose: run it with Python, on --bundle and --data")
    made.add_argument("--bundle", help="with ExecuTorch's programs (default: export one)")
    made.add_argument("--data", help="JSONL of the fit")
    given = made.parse_args()
    if given.as_python:
        print(json.dumps(as_python(given)))
        return
    bundle = Path(
        given.bundle or demo_bundle(Path(given.folder) / "both", backend="onnx,executorch")
    )
    build = Path(given.build)
    with tempfile.TemporaryDirectory() as folder:
        files = write_examples(Path(folder))
        result: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load_before": os.getloadavg()[0],
            "start": starts(build, bundle, given.rounds),
        }
        for name, data in files.items():
            result[name] = fits(build, bundle, data, given.rounds, given.steps)
        result["stripped_bytes"] = stripped(build, Path(folder))
        result["planned"] = planned(bundle)
        result["allocations"] = {
            name: allocations(build, bundle, data) for name, data in files.items()
        }
    result["load_after"] = os.getloadavg()[0]
    print(json.dumps(result) if given.json else text(result))


def write_examples(folder: Path) -> dict[str, Path]:
    """Labels to choose, and ends of reviews to write."""
    rows, _ = review_sentences(EXAMPLES, 1)
    tasks = {
        "choices": [LABELS.example(*row) for row in rows],
        "responses": [ending(content) for content, _ in rows],
    }
    files = {}
    for name, examples in tasks.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("\n".join(json.dumps(asdict(example)) for example in examples))
    return files


def ending(content: str) -> Example:
    words = content.split()
    return Example(" ".join(words[:-LAST]), " " + " ".join(words[-LAST:]))


def run(command: list[str]) -> Run:
    """Run a process that prints JSON, and look at its memory as it goes."""
    began, peak = time.perf_counter(), (0.0, 0.0, 0.0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            peak = max(peak, memory(child.pid))
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        assert child.stdout
        told = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return Run(json.loads(told.splitlines()[-1]), seconds, *peak)


def memory(process: int) -> tuple[float, float, float]:
    """MB of a process at its peak so far, and of these now: its own, and of files."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return (0.0, 0.0, 0.0)
    found = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Vm", "Rss"))
    }
    names = ("VmHWM", "RssAnon", "RssFile")
    peak, own, files = (int(found.get(name, 0)) * 1024 / 1e6 for name in names)
    return (peak, own, files)


def native(build: Path, verb: str, bundle: Path, *options: str) -> Run:
    return run([str(build / "dsa_runner"), verb, str(bundle), *options, "--json"])


def python(what: str, bundle: Path, *options: str) -> Run:
    return run([sys.executable, __file__, CHILD, what, "--bundle", str(bundle), *options])


def as_python(given: Any) -> dict[str, Any]:
    from dsa_edge.runtime import Budget, Personalizer

    me = Personalizer.open(given.bundle, backend="executorch")
    if given.as_python == "choose":
        return {"choice": me.choose(PROMPT, CHOICES).text}
    return me.fit(read_examples(given.data), Budget(steps=given.steps)).to_dict()


def starts(build: Path, bundle: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a process that answers once: files in the system's cache, hashes checked."""
    words = ("--prompt", PROMPT, "--choices", ",".join(CHOICES))
    native(build, "choose", bundle, *words)
    pairs = [
        (native(build, "choose", bundle, *words).seconds, python("choose", bundle).seconds)
        for _ in range(rounds)
    ]
    unchecked = [
        native(build, "choose", bundle, *words, "--skip-hashes").seconds for _ in range(rounds)
    ]
    return {**compared(pairs), "native_without_hashes": statistics.median(unchecked)}


def fits(build: Path, bundle: Path, data: Path, rounds: int, steps: int) -> dict[str, Any]:
    options = ("--data", str(data), "--steps", str(steps))
    turns = [
        (native(build, "personalize", bundle, *options), python("fit", bundle, *options))
        for _ in range(rounds)
    ]
    last = [tuple(one.told["curve"][-1]["loss"] for one in pair) for pair in turns]
    highest = max((one for one, _ in turns), key=lambda one: one.peak_mb)
    return {
        "step": compared([(a.told["step_seconds"], b.told["step_seconds"]) for a, b in turns]),
        "process": compared([(a.seconds, b.seconds) for a, b in turns]),
        "losses_apart": max(abs(a - b) for a, b in last),
        "native_mb": {
            "peak": highest.peak_mb,
            "own": highest.anonymous_mb,
            "of_files": highest.file_mb,
        },
        "python_mb": max(other.peak_mb for _, other in turns),
    }


def compared(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Medians of (native, Python), and the ratio of each round."""
    ratios = [a / b for a, b in pairs]
    return {
        "native": statistics.median(a for a, _ in pairs),
        "python": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def stripped(build: Path, folder: Path) -> dict[str, int]:
    """Bytes without symbols; our kernels are inside, ExecuTorch is not."""
    sizes = {}
    for name in ("dsa_runner", "libdsa_runner.so"):
        shutil.copy(build / name, folder / name)
        subprocess.run(["strip", folder / name], check=True)
        sizes[name] = (folder / name).stat().st_size
    return sizes


def planned(bundle: Path) -> dict[str, float]:
    """MB of programs and data, of the planned activations, and what is asked for."""
    info = Bundle.open(bundle, check_hashes=False).manifest.executorch
    assert info
    files = sum(path.stat().st_size for path in (bundle / "executorch").iterdir()) / 1e6
    activations = arenas(bundle, info) / 1e6
    return {
        "programs_and_data_mb": files,
        "activations_mb": activations,
        "asked_mb": ASKED * (files + activations),
    }


def arenas(bundle: Path, info: ExecutorchInfo) -> int:
    """Bytes of the two arenas that programs take in turn, by ExecuTorch's own plan."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    sizes: dict[tuple[int, int], int] = {}
    for turn, entry in enumerate((*info.layers, info.head)):
        made = deserialize_pte_binary((bundle / entry.program).read_bytes())
        plan = getattr(made, "program", made).execution_plan[0]
        for number, size in enumerate(plan.non_const_buffer_sizes):
            place = (turn % 2, number)
            sizes[place] = max(sizes.get(place, 0), size)
    return sum(sizes.values())


def allocations(build: Path, bundle: Path, data: Path) -> dict[str, Any]:
    test = build / "tests" / "test_allocations"
    done = subprocess.run([test, bundle, data], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def text(result: dict[str, Any]) -> str:
    plan, lines = result["planned"], [f"{result['machine']}; ratio = native / Python"]
    rows = [(f"{name}: {what}", result[name][what]) for name in ("choices", "responses")
            for what in ("step", "process")]  # fmt: skip
    for name, row in [("start to answer", result["start"]), *rows]:
        lines.append(
            f"{name:<20} {row['native']:.3f} s, Python {row['python']:.3f} s, {row['ratio']:.2f}"
        )
    for name in ("choices", "responses"):
        told = result[name]["native_mb"]
        lines.append(
            f"{name}: memory   {told['peak']:.0f} MB, of files {told['of_files']:.0f}; asked "
            f"{plan['asked_mb']:.0f}; allocations {result['allocations'][name]}"
        )
    return "\n".join([*lines, f"stripped {result['stripped_bytes']}"])


if __name__ == "__main__":
    main()
