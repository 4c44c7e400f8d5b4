"""docs/results/peers.md, with its raw numbers and its plots, of the runs that are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from _examples import TASKS
from _peers import PEERS, SPEED, Peer
from _picture import Curve, picture

from dsa_edge.atomic import write_atomic

__all__ = ["reached", "write_report"]

Run = dict[str, Any]
SHARES = (0.8, 0.95)  # of it
PAGE = Path(__file__).with_name("page.md")


def write_report(runs: Sequence[Run], results: Path) -> str:
    """Write the page, its raw numbers and a plot of each task; returns the page."""
    results.mkdir(parents=True, exist_ok=True)
    runs = _latest(runs)
    parts = [_opening(runs)]
    for task in TASKS:
        own = [run for run in runs if run["task"] == task]
        if own:
            name = f"peers-{task}.svg"
            write_atomic(results / name, picture(_curves(own), _metric(own)).encode())
            parts.append(_learning(task, own, name))
    speed = [run for run in runs if run["task"] == SPEED]
    if speed:
        parts.append(_speeds(speed))
    parts.append(_lacking(runs))
    page = "\n".join(parts)
    write_atomic(results / "peers.md", page.encode())
    raw = sorted(runs, key=lambda run: (run["task"], run["peer"], run["seed"]))
    lines = ",\n".join(json.dumps(_rounded(run)) for run in raw)
    write_atomic(results / "peers.json", f"[\n{lines}\n]\n".encode())
    return page


def _latest(runs: Sequence[Run]) -> list[Run]:
    """Of runs of a peer on a task with a seed, the last: earlier ones had other settings."""
    return list({(run["peer"], run["task"], run["seed"]): run for run in runs}.values())


def _opening(runs: Sequence[Run]) -> str:
    about = " ".join(
        f"*{name.capitalize()}*: {sort.about}; {sort.learn} to learn from, {sort.held} held out."
        for name, sort in TASKS.items()
    )
    shares = " and ".join(f"{share:.0%}" for share in SHARES)
    text = PAGE.read_text(encoding="utf-8").format(tasks=about, shares=shares)
    machines = sorted({run["machine"] for run in runs})
    loads = [run["load"] for run in runs]
    where = (
        f"Machine: {'; '.join(machines)}; load when a run ended {min(loads)} to {max(loads)}."
        if runs
        else ""
    )
    return f"{text}\n{where}\n"


def _learning(task: str, runs: Sequence[Run], plot: str) -> str:
    """One task's table, what it says of the goals, and its plot."""
    marks = [f"{share:.0%}: s | CPU s" for share in SHARES]
    head = ["peer", f"best {_metric(runs)}", *marks, "tokens", "a step, s", "peak MB", "a user"]
    rows = [_row(peer, runs) for peer in PEERS if any(run["peer"] == peer.name for run in runs)]
    columns = " | ".join(head)
    line = " | ".join("---" for _ in columns.split(" | "))
    table = "\n".join([f"| {columns} |", f"| {line} |", *rows])
    return f"## {task.capitalize()}\n\n{table}\n\n{_verdict(runs)}\n\n![{task}]({plot})\n"


def _row(peer: Peer, runs: Sequence[Run]) -> str:
    own = [run for run in runs if run["peer"] == peer.name]
    cells = [peer.title, _best_cell(own)]
    for share in SHARES:
        for what in ("seconds", "cpu_seconds"):
            tried = own[0]["points"][-1][what] if _judged(own) else None
            cells.append(_cell([reached(run, runs, share, what) for run in own], tried))
    cells.append(_cell([reached(run, runs, SHARES[0], "tokens") for run in own], None))
    steps = median(_step_seconds(run) for run in own)
    peak, size = median(run["peak_mb"] for run in own), median(run["user_bytes"] for run in own)
    cells += [f"{steps:.3g}", f"{peak:.0f}", _bytes(size)]
    return f"| {' | '.join(cells)} |"


def reached(run: Run, runs: Sequence[Run], share: float, what: str) -> float | None:
    """What a run had spent (`seconds`, `cpu_seconds`, `tokens`) when it was at a share of the gain.

    The gain is the largest that any run of its task and seed made, from the lowest start.
    """
    twin = _same(run, runs, _peer(run).same or run["peer"])
    judged = [r for r in runs if (r["task"], r["seed"]) == (run["task"], run["seed"])]
    values = [[_value(p) for p in r["points"] if p["loss"] is not None] for r in judged]
    values = [v for v in values if v]
    if twin is None or not values:
        return None
    start, best = min(v[0] for v in values), max(map(max, values))
    level = start + share * (best - start)
    point = next((p for p in twin["points"][1:] if _value(p) >= level), None)
    if point is None or twin is run:
        return point and float(point[what])
    last = run["points"][-1]  # the same updates, at its own pace
    return float(point["step"] * last[what] / last["step"])


def _same(run: Run, runs: Sequence[Run], peer: str) -> Run | None:
    """The run of another peer on the same task and seed."""
    found = [
        r for r in runs if (r["peer"], r["task"], r["seed"]) == (peer, run["task"], run["seed"])
    ]
    return found[-1] if found else None


def _peer(run: Run) -> Peer:
    return next(peer for peer in PEERS if peer.name == run["peer"])


def _value(point: dict[str, Any]) -> float:
    """What is to grow: accuracy, or without choices minus the nats."""
    if point["loss"] is None:
        return float("-inf")
    return -point["loss"] if point["accuracy"] is None else float(point["accuracy"])


def _metric(runs: Sequence[Run]) -> str:
    judged = [p for run in runs for p in run["points"] if p["loss"] is not None]
    return "accuracy" if judged and judged[0]["accuracy"] is not None else "nats a token"


def _judged(runs: Sequence[Run]) -> bool:
    return runs[0]["points"][-1]["loss"] is not None or bool(_peer(runs[0]).same)


def _best_cell(runs: Sequence[Run]) -> str:
    best = [max(map(_value, run["points"])) for run in runs]
    if min(best) == float("-inf"):
        return "as above" if _peer(runs[0]).same else "not judged"
    return f"{abs(mean(best)):.3f}"


def _cell(values: Sequence[float | None], tried: float | None) -> str:
    """The median, and how many got there; else for how long it was tried."""
    there = [value for value in values if value is not None]
    if not there:
        return "" if tried is None else f"not in {tried:.0f}"
    shown = f"{median(there):,.0f}" if median(there) >= 10 else f"{median(there):.1f}"
    return shown if len(there) == len(values) else f"{shown} ({len(there)} of {len(values)})"


def _step_seconds(run: Run) -> float:
    """Of the later steps, before which prompts are cached."""
    points = [point for point in run["points"] if point["step"]]
    if not points:
        return float("nan")
    first, last = points[0], points[-1]
    if len(points) < 2 or last["step"] == first["step"]:
        return float(last["seconds"] / last["step"])
    return float((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]))


def _verdict(runs: Sequence[Run]) -> str:
    """Ours against the others: time to each target, and memory."""
    lines = []
    for name in ("ours", "ours-exact"):
        for other in ("peft", "peft-bfloat16", "own-core", "mezo", "replicated-lanes"):
            parts = [part for share in SHARES if (part := _ratio(name, other, runs, share))]
            a, b = (_median(runs, peer, "peak_mb") for peer in (name, other))
            if a and b:
                parts.append(f"memory {a / b:.2f}")
            if parts:
                lines.append(f"- `{name}` / `{other}`: {', '.join(parts)}")
    return "\n".join(lines)


def _ratio(name: str, other: str, runs: Sequence[Run], share: float) -> str:
    """Of the times to a share; where the other never got there, at most so much."""
    own, rival = ([run for run in runs if run["peer"] == peer] for peer in (name, other))
    times = [[reached(run, runs, share, "seconds") for run in side] for side in (own, rival)]
    mine, theirs = ([t for t in side if t is not None] for side in times)
    if not mine or not rival:
        return ""
    tried = median(run["points"][-1]["seconds"] for run in rival)
    if theirs:
        return f"{median(mine) / median(theirs):.2f} of its time to {share:.0%}"
    if median(mine) > tried:  # it had too little time to tell
        return ""
    return f"less than {median(mine) / tried:.2f} of its time to {share:.0%}, where it never was"


def _median(runs: Sequence[Run], peer: str, what: str) -> float | None:
    found = [run[what] for run in runs if run["peer"] == peer]
    return median(found) if found else None


def _curves(runs: Sequence[Run]) -> list[Curve]:
    """Of the first seed."""
    made = []
    for peer in PEERS:
        own = [run for run in runs if run["peer"] == peer.name and run["seed"] == 0]
        points = [
            (p["seconds"], abs(_value(p))) for run in own[:1] for p in run["points"][1:]
            if p["loss"] is not None
        ]  # fmt: skip
        if points:
            made.append(Curve(peer.name, points))
    return made


def _speeds(runs: Sequence[Run]) -> str:
    """Tokens a second."""
    head = (
        "engine", "prompt, tokens/s", "generation, tokens/s", "adapter switch, ms", "load, s",
        "peak MB", "on disk", "",
    )  # fmt: skip
    lines = [
        "## Inference\n",
        "A prompt of 128 random tokens, then 31 more, one prompt at a time; mean ± standard "
        "deviation of seven runs.\n",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
    ]
    for peer in PEERS:
        lines += [_speed(peer, run) for run in runs if run["peer"] == peer.name]
    return "\n".join([*lines, "", *_generation(runs)]) + "\n"


def _generation(runs: Sequence[Run]) -> list[str]:
    """How many times as many tokens a second each engine generates as ours."""
    rates = {run["peer"]: mean(run["generate"]) for run in runs}
    ours = rates.get("ours-speed")
    return [
        f"- `{name}` generates {rate / ours:.1f} times as many tokens a second as `ours-speed`"
        for name, rate in rates.items() if ours and name != "ours-speed"
    ]  # fmt: skip


def _speed(peer: Peer, run: Run) -> str:
    cells = [
        peer.title, _spread(run["prompt"]), _spread(run["generate"]),
        f"{median(run['switch_ms']):.1f}" if run["switch_ms"] else "–",
        f"{run['load_seconds']:.2f}", f"{run['peak_mb']:.0f}", _bytes(run["bytes"]), run["notes"],
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _lacking(runs: Sequence[Run]) -> str:
    """What a device has not, and what each run had to say."""
    lines = ["## What each needs that a device lacks\n", "| peer | it needs |", "| --- | --- |"]
    names = {run["peer"] for run in runs}
    lines += [f"| {p.title} | {p.lacks} |" for p in PEERS if p.name in names and p.lacks]
    said = [
        f"- {_peer(run).title}, {run['task']}: {run['notes']}"
        for run in runs if run["notes"] and run["task"] != SPEED and run["seed"] == 0
    ]  # fmt: skip
    return "\n".join([*lines, "", *said]) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.0f} ± {stdev(values) if len(values) > 1 else 0:.0f}"


def _bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _rounded(value: Any) -> Any:
    """Four significant digits: a file that one can read."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value
