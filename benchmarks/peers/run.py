"""Peers beside dsa-edge, on the same work in the same run, each in an environment of its own.

    python benchmarks/peers/run.py                          # or `make peers`: three tasks, one seed
    python benchmarks/peers/run.py --tasks speed            # tokens a second alone
    python benchmarks/peers/run.py --quick --peers ours,peft --tasks short
    python benchmarks/peers/run.py --report                 # tables and plots again

Each finished run is a line of OUT/runs.jsonl; runs that are there already, with the same settings,
are not run again. `--python .venv/bin/python` runs all peers in one environment that has all they
need; `--python llama_cpp=PATH` names one peer's. One at a time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from _adapters import write_lora  # noqa: E402
from _common import some_of  # noqa: E402
from _contract import Job  # noqa: E402
from _environments import environment, interpreter, pythons  # noqa: E402
from _examples import write_task  # noqa: E402
from _peers import LEARNING, PEERS, SPEED, Peer  # noqa: E402
from _report import write_report  # noqa: E402
from _tasks import FOLDER  # noqa: E402

from dsa_edge.demo import find_model  # noqa: E402

OUT, RESULTS = Path("build/peers"), Path("docs/results")
QUICK = 0.25  # of the time for learning


def main() -> None:
    arguments = _arguments()
    runs = Path(arguments.out) / "runs.jsonl"
    failed = [] if arguments.report else sweep(arguments, runs)
    print(write_report(read(runs), Path(arguments.results)))
    if failed:
        sys.exit("\n".join(failed))


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks, names = [*LEARNING, SPEED], [peer.name for peer in PEERS]
    made.add_argument("--tasks", type=some_of(tasks), default=tasks, help="by comma (default: all)")
    made.add_argument("--peers", type=some_of(names), default=names, help="by comma (default: all)")
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--threads", type=int, default=os.cpu_count())
    made.add_argument("--quick", action="store_true", help="a quarter of the time for learning")
    made.add_argument("--python", action="append", default=[], metavar="[ENVIRONMENT=]PATH")
    made.add_argument("--out", default=str(OUT), help="environments, bundles, tasks and runs")
    made.add_argument("--data", default=str(FOLDER), help="where the archives of the texts lie")
    made.add_argument("--results", default=str(RESULTS), help="where tables and plots go")
    made.add_argument("--report", action="store_true", help="tables and plots of what is there")
    return made.parse_args()


def read(runs: Path) -> list[dict[str, Any]]:
    """All finished runs; of those with the same key, the last."""
    lines = runs.read_text(encoding="utf-8").splitlines() if runs.is_file() else []
    return list({run["key"]: run for run in map(json.loads, lines)}.values())


def sweep(arguments: argparse.Namespace, runs: Path) -> list[str]:
    """Run what is missing, and append each result as soon as it is there; returns what failed."""
    done, failed = {run["key"] for run in read(runs)}, []
    given = pythons(arguments.python)
    for peer, task, seed in wanted(arguments):
        job = job_of(peer, task, seed, arguments)
        key = key_of(job)
        if key in done:
            continue
        python = interpreter(peer.environment, given, Path(arguments.out) / "environments")
        print(f"{task} {seed}: {peer.title} …", file=sys.stderr, flush=True)
        found = call(python, peer, job)
        if isinstance(found, str):
            failed.append(f"{peer.title} on {task} failed: {found}")
            print(failed[-1], file=sys.stderr)
            continue
        run = {
            "key": key, "peer": peer.name, "task": task, "seed": seed, **machine(job.threads),
            "settings": job.settings, "asked_seconds": job.seconds, **found,
        }  # fmt: skip
        with runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
    return failed


def wanted(arguments: argparse.Namespace) -> Iterator[tuple[Peer, str, int]]:
    """(peer, task, seed) of all that is asked for, task by task."""
    for task in arguments.tasks:
        for seed in range(arguments.seeds if task != SPEED else 1):
            yield from (
                (p, task, seed) for p in PEERS if p.name in arguments.peers and task in p.tasks
            )


def job_of(peer: Peer, task: str, seed: int, arguments: argparse.Namespace) -> Job:
    """What a peer is asked; makes what it needs and is not there yet."""
    settings, out = peer.asked(task), Path(arguments.out)
    exact = settings.get("estimator") == "exact"
    bundle = bundle_of(out, "gradients" if exact else "plain")
    data = Path(arguments.data)
    if settings.get("lora"):
        write_lora(bundle, bundle.with_name("lora.gguf"))
    path = "" if task == SPEED else str(write_task(task, bundle, seed, out / "tasks", data))
    seconds = peer.seconds.get(task, 0.0) * (QUICK if arguments.quick else 1)
    return Job(
        peer.name, path, str(find_model()), str(bundle), seed, seconds, peer.steps,
        arguments.threads, settings,
    )  # fmt: skip


def bundle_of(out: Path, name: str) -> Path:
    """SmolLM2 with the default adapter, plain or with gradients; exported if need be."""
    path = out / f"{name}.dsa"
    if not (path / "manifest.json").is_file():
        print(f"exporting {path}", file=sys.stderr)
        more = ["--gradients"] if name == "gradients" else []
        command = [sys.executable, "-m", "dsa_edge.cli", "export", str(find_model()), str(path)]
        subprocess.run([*command, *more], check=True, stdout=sys.stderr, env=environment())
    return path


def key_of(job: Job) -> str:
    """Of what decides a result: paths do not."""
    asked = {**asdict(job), "task": Path(job.task).stem, "model": "", "bundle": ""}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def call(python: str, peer: Peer, job: Job) -> dict[str, Any] | str:
    """A peer's answer, or why there is none."""
    command = [python, str(HERE / f"{peer.script}.py")]
    done = subprocess.run(
        command, input=json.dumps(asdict(job)), capture_output=True, text=True, env=environment()
    )
    if done.returncode or not done.stdout.strip():
        return last_line(done.stderr) or f"exit code {done.returncode}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def last_line(text: str) -> str:
    """Where Python says what went wrong."""
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][:500] if lines else ""


def machine(threads: int) -> dict[str, Any]:
    """What a time depends on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads",
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
