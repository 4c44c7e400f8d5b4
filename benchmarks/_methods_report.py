"""What the runs of `methods.py` come to: a summary, tables for docs/results/methods.md, and plots.

A row reaches a share of the first-order gain at the first point of its curve, mean over its seeds,
that is at least so good: single runs pass a level by luck, and are counted at the end alone. The
gain is that of LoRA on whole sentences: from the base, without any label biases, to the best point
of its mean curve.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from _methods_rows import WHOLE
from _tasks import TASKS
from numpy.typing import NDArray

__all__ = ["report"]

Record = dict[str, Any]
SHARES = (0.8, 0.95)  # of the first-order gain
GROUPS = {
    "Kinds of adapters": lambda r: _way(r) == ("antithetic", 0, "adam"),
    "Kinds of adapters, lanes on one side": lambda r: _way(r) == ("one-sided", 0, "adam"),
    "Estimators and optimizers": lambda r: (
        _way(r)
        and r["estimator"] != "exact"
        and (r["kind"] == "core" or r.get("queries") or r["estimator"] == "axes")
    ),
    "Five times the steps": lambda r: r.get("times", 1) > 1,
    "As published": lambda r: bool(r["published"]),
    "First order": lambda r: r["estimator"] == "exact",
}
PLOTS = (
    "kinds.png", "one-sided.png", "estimators.png", "longer.png", "published.png",
    "first-order.png",
)  # fmt: skip
MARK = "<!-- what follows is written by `python benchmarks/methods.py --report` -->"
K = 1000


def report(records: list[Record], folder: Path) -> Record:
    """Tables into `folder`.md below a mark, plots into the folder; returns the summary."""
    fits = [r for r in records if r["what"] == "fit"]
    goals = {task: _goal(fits, task) for task in TASKS if _of(fits, WHOLE, task)}
    names = list(dict.fromkeys(r["row"] for r in fits))
    rows = {
        name: {task: _cell(_of(fits, name, task), goals[task]) for task in goals} for name in names
    }
    parts = [_goal_text(goals), *_tables(fits, rows, goals), *_tuned(records), *_cpu(folder)]
    text = "\n".join(parts)
    page = folder.with_suffix(".md")
    head = page.read_text().split(MARK)[0] if page.is_file() else "# Methods compared\n\n"
    page.write_text(f"{head}{MARK}\n\n{text}\n")
    plotted = _plot(fits, folder)
    return {"goals": goals, "rows": rows, "text": text, "plots": plotted}


def _way(r: Record) -> tuple[Any, ...]:
    """How a row learns, where it has the tokens of others; else nothing."""
    if "kind" not in r or r.get("times", 1) > 1 or r["published"]:
        return ()
    return r["estimator"], r.get("queries", 0), r["optimizer"]


def _of(fits: list[Record], name: str, task: str) -> list[Record]:
    return [r for r in fits if r["row"] == name and r["task"] == task]


def _sign(task: str) -> int:
    """1 where more is better (accuracy), −1 for nats."""
    return -1 if task == "posts" else 1


def _goal(fits: list[Record], task: str) -> Record:
    """The first-order gain of a task, and where its shares lie."""
    whole = _of(fits, WHOLE, task)
    curve = _mean_curve(whole)[:, 2]
    base = float(np.mean([r["before"] for r in whole]))
    best = float((curve * _sign(task)).max() * _sign(task))
    levels = {share: base + share * (best - base) for share in SHARES}
    return {"base": base, "best": best, "levels": levels, "seeds": len(whole)}


def _cell(runs: list[Record], goal: Record) -> Record | None:
    """One row on one task."""
    if not runs:
        return None
    sign = _sign(runs[0]["task"])
    after = [r["after"] for r in runs]
    reached, held = {}, {}
    for share, level in goal["levels"].items():
        good = [point for point in _mean_curve(runs) if sign * point[2] >= sign * level]
        reached[share] = good[0][:2].tolist() if good else None
        held[share] = sum(sign * value >= sign * level for value in after)
    return {
        "seeds": len(runs), "mean": float(np.mean(after)), "sd": float(np.std(after)),
        "steps": float(np.median([r["steps"] for r in runs])),
        "tokens": float(np.median([r["tokens"] for r in runs])),
        "kept": sum(r["verdict"] in ("improved", "") for r in runs), "reached": reached,
        "held": held,
    }  # fmt: skip


def _mean_curve(runs: list[Record]) -> NDArray[np.float64]:
    """(steps, tokens, value) at the same shares of each run, (points, 3), mean over seeds."""
    length = min(len(r["curve"]) for r in runs)
    mean: NDArray[np.float64] = np.mean([r["curve"][:length] for r in runs], 0)
    return mean


def _goal_text(goals: dict[str, Record]) -> str:
    lines = [
        "| task | base | LoRA on whole sentences | 80 % of the gain | 95 % of the gain |",
        "| --- | --- | --- | --- | --- |",
    ]
    for task, goal in goals.items():
        seeds = f"{goal['best']:.3f} (seeds: {goal['seeds']})"
        levels = " | ".join(f"{level:.3f}" for level in goal["levels"].values())
        lines.append(f"| {task} | {goal['base']:.3f} | {seeds} | {levels} |")
    return "\n".join(lines)


def _tables(
    fits: list[Record], rows: dict[str, dict[str, Record | None]], goals: dict[str, Record]
) -> list[str]:
    """A table of results and one of costs for each group of rows."""
    known = {r["row"]: r for r in fits}
    lines = []
    for title, chosen in GROUPS.items():
        names = [n for n in rows if n != WHOLE and chosen(known[n])]
        if title == "First order":
            names.append(WHOLE)
        names.sort(key=lambda name: -_rank(rows[name]))
        tasks = " | ".join(goals)
        lines += ["", f"## {title}", "", f"| row | numbers | bytes | {tasks} |"]
        lines.append("| --- | --- | --- |" + " --- |" * len(goals))
        lines += [_line(name, known[name], rows[name], _result) for name in names]
        lines += [
            "",
            f"Thousand full-depth tokens to 80 % and to 95 % of the gain (steps; seeds that end "
            f"there); {title}:",
        ]
        lines += ["", f"| row | {tasks} |", "| --- |" + " --- |" * len(goals)]
        for name in names:
            cells = " | ".join(_reached(cell) for cell in rows[name].values())
            lines.append(f"| {_shown(known[name])} | {cells} |")
    return lines


def _rank(cells: dict[str, Record | None]) -> float:
    """Mean accuracy over the tasks with choices: only to sort by."""
    return float(np.mean([c["mean"] for t, c in cells.items() if c and t != "posts"] or [0.0]))


def _shown(run: Record) -> str:
    published = run.get("published")
    return f"{run['row']} ({published})" if published else run["row"]


def _line(name: str, run: Record, cells: dict[str, Record | None], show: Any) -> str:
    shown = " | ".join(show(cell) for cell in cells.values())
    return f"| {_shown(run)} | {run['size']:,} | {_bytes(run)} | {shown} |"


def _bytes(run: Record) -> str:
    """Bytes that a user keeps: the adapter's numbers, or the journal that rebuilds them."""
    adapter, width = 4 * run["size"], run.get("width")
    if not width:
        return f"{adapter / K:,.0f} k"
    journal = run["steps"] * (run["size"] if run["estimator"] == "exact" else 4 * (width + 1))
    return f"{adapter / K:,.0f} k; journal {journal / K:,.0f} k"


def _result(cell: Record | None) -> str:
    if cell is None:
        return "–"
    few = f" ({cell['seeds']})" if cell["seeds"] < 3 else ""
    lost = cell["seeds"] - cell["kept"]
    failed = f", {lost} of {cell['seeds']} kept nothing" if lost else ""
    return f"{cell['mean']:.3f} ± {cell['sd']:.3f}{few}{failed}"


def _reached(cell: Record | None) -> str:
    if cell is None:
        return "–"
    pairs, count = cell["reached"].values(), cell["seeds"]
    shown = [
        f"{pair[1] / K:.0f} ({pair[0]:.0f}; {held}/{count})" if pair else "–"
        for pair, held in zip(pairs, cell["held"].values(), strict=True)
    ]
    return ", ".join(shown) if any(pairs) else f"– in {cell['tokens'] / K:.0f}"


def _tuned(records: list[Record]) -> list[str]:
    """What tuning chose for each row."""
    lines = ["", "## Chosen settings", "", "| row | tuned on | ε | rate | queries |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for r in records:
        if r["what"] == "tuned":
            chosen = r["settings"]
            whole = r["row"] == WHOLE
            epsilon = "–" if whole or r["estimator"] == "exact" else f"{chosen['epsilon']:g}"
            queries = "–" if epsilon == "–" else chosen["queries"]
            lines.append(
                f"| {_shown(r)} | {r['task']} | {epsilon} | {chosen['rate']:g} | {queries} |"
            )
    return lines


def _cpu(folder: Path) -> list[str]:
    """What `_methods_cpu.py` measured, if it was run."""
    file = folder / "cpu.json"
    if not file.is_file():
        return []
    found = json.loads(file.read_text())
    lines = ["", f"## Seconds and memory ({found['machine']})", ""]
    lines += [
        "| task | side | a step, s | a prompt, s | peak, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for r in found["rows"]:
        prompt = f"{r['prompt_seconds']:.2f}" if "prompt_seconds" in r else "–"
        cells = f"{r['step_seconds']:.2f} | {prompt} | {r['peak_mb']:,.0f}"
        lines.append(f"| {r['task']} | {r['side']} | {cells} |")
    return lines


def _plot(fits: list[Record], folder: Path) -> list[str]:
    """Learning curves over forward tokens, a file for each group; none without matplotlib."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, chosen in zip(PLOTS, GROUPS.values(), strict=True):
        shown = [r for r in fits if r["row"] != WHOLE and chosen(r)]
        names = dict.fromkeys(r["row"] for r in shown)
        colours = {name: colormaps["tab20"](at % 20) for at, name in enumerate(names)}
        tasks = [task for task in TASKS if any(r["task"] == task for r in shown)]
        if not tasks:
            continue
        tall = (len(tasks) + 1) // 2
        figure = Figure(figsize=(13, 4.5 * tall), layout="constrained")
        for axes, task in zip(figure.subplots(tall, 2).flat, tasks, strict=False):
            _curves(axes, [r for r in fits if r["task"] == task], chosen, colours)
            axes.set_title(task)
            axes.set_xlabel("forward tokens, thousands at full depth")
            axes.set_ylabel("nats a token" if task == "posts" else "held-out accuracy")
            axes.set_xscale("log")
        figure.axes[0].legend(fontsize=7)
        made.append(name)
        figure.savefig(folder / made[-1], dpi=70)
    return made


def _curves(axes: Any, fits: list[Record], chosen: Any, colours: dict[str, Any]) -> None:
    """Mean curves of the rows of a group, and of first order on whole sentences, dashed."""
    by_row: dict[str, list[Record]] = defaultdict(list)
    for r in fits:
        if r["row"] == WHOLE or chosen(r):
            by_row[r["row"]].append(r)
    for name, runs in by_row.items():
        points = _mean_curve(runs)[:, 1:]
        style = {"linestyle": "--", "color": "k"} if name == WHOLE else {"color": colours[name]}
        axes.plot(points[:, 0] / K, points[:, 1], label=name, linewidth=1, **style)


def compact(record: Record) -> Record:
    """A record with four digits a number, and of its settings those that matter."""
    short = json.loads(json.dumps(record), parse_float=lambda text: float(f"{float(text):.4g}"))
    for name in ("hyper", "settings"):
        kept = {k: v for k, v in short.get(name, {}).items() if k in KEPT}
        if name in short:
            short[name] = kept
    return dict(short)


KEPT = ("queries", "batch", "epsilon", "rate", "smoothing", "estimator", "optimizer")
