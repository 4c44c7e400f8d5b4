"""What the folds of `population.py` come to, as a table, a plot and one file of raw numbers.

python benchmarks/_population_report.py build/population/posts* --plot posts.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from _population import FIRST_ORDER, ROWS

from dsa_edge.atomic import write_atomic

__all__ = ["summary", "text"]

TARGET = 0.8  # of the first-order gain


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("places", nargs="+", type=Path, help="where `population.py` kept results")
    made.add_argument("--plot", help="a picture of nats along the fits (PNG or SVG)")
    made.add_argument("--raw", type=Path, help="a JSON file of all fits")
    arguments = made.parse_args()
    result = summary(arguments.places)
    if arguments.raw:
        write_atomic(arguments.raw, json.dumps(_rounded(result["fits"])).encode())
    if arguments.plot:
        _plot(result["fits"], arguments.plot)
    print(text(result))


def summary(places: Sequence[Path]) -> dict[str, Any]:
    """Every row's means over the users of all folds, as shares of the first-order gain of each."""
    files = [(place, file) for place in places for file in sorted(place.glob("*-*-*.json"))]
    found = [{"fold": place.name, **json.loads(file.read_text())} for place, file in files]
    by_place = {_key(r, r["row"]): r for r in found}
    rows = []
    for row in (FIRST_ORDER, *ROWS):
        for count in sorted({r["examples"] for r in found}):
            own = [r for r in found if r["row"] == row and r["examples"] == count]
            shares = [_share(r, by_place.get(_key(r, FIRST_ORDER))) for r in own]
            if own:
                rows.append(_row(row, count, own, [s for s in shares if s is not None]))
    return {"rows": rows, "fits": found}


def _key(fit: dict[str, Any], row: str) -> tuple[str, str, int, str]:
    return fit["fold"], fit["account"], fit["examples"], row


def _share(row: dict[str, Any], best: dict[str, Any] | None) -> tuple[float, int | None] | None:
    """Of the first-order gain at the end, and the first measured step that has the target."""
    if best is None:
        return None
    zero, gain = best["nats"][0], best["nats"][0] - min(best["nats"])
    if gain <= 0:  # first order gained nothing there
        return None
    shares = [(zero - nats) / gain for nats in row["nats"]]
    reached = [s for s, share in zip(row["steps"], shares, strict=True) if share >= TARGET]
    return shares[-1], min(reached, default=None)


def _row(
    row: str, count: int, own: list[dict[str, Any]], shares: list[tuple[float, int | None]]
) -> dict[str, Any]:
    steps = [reached for _, reached in shares]
    return {
        "row": row,
        "examples": count,
        "accounts": len(own),
        "nats": mean(r["nats"][-1] for r in own),
        "best_nats": mean(min(r["nats"]) for r in own),
        "kept_nats": mean(r.get("kept_nats", r["nats"][-1]) for r in own),
        "accuracy": _mean([r["accuracy"][-1] for r in own if "accuracy" in r]),
        "best_accuracy": _mean([max(r["accuracy"]) for r in own if "accuracy" in r]),
        "share": mean(share for share, _ in shares) if shares else None,
        "steps_to_target": [s for s in steps if s is not None],
        "reached": len([s for s in steps if s is not None]),
        "seconds": mean(r["seconds"] for r in own),
        "bytes": max(r.get("bytes", 0) for r in own),
        "file_bytes": max(r.get("file_bytes", 0) for r in own),
    }


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def text(result: dict[str, Any]) -> str:
    """The table of a summary, in Markdown."""
    names = ("start and method", "examples", "nats a token", "accuracy", "share", "at target", "s")
    lines = [f"| {' | '.join(names)} | file bytes |", "| --- " * 8 + "|"]
    for r in result["rows"]:
        share = "–" if r["share"] is None else f"{r['share']:.0%}"
        target = f"{r['reached']} of {r['accounts']}, steps {r['steps_to_target'] or '–'}"
        accuracy = "–" if r["accuracy"] is None else f"{r['accuracy']:.3f}"
        lines.append(
            f"| {r['row']} | {r['examples']} | {r['nats']:.3f} | {accuracy} | {share} | {target} | "
            f"{r['seconds']:.0f} | {r['file_bytes'] or '–'} |"
        )
    return "\n".join(lines)


def _rounded(value: Any) -> Any:
    """Numbers to four places, which is more than two machines agree on."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(own) for key, own in value.items()}
    return [_rounded(own) for own in value] if isinstance(value, list) else value


def _plot(fits: Sequence[dict[str, Any]], file: str) -> None:
    """Nats along the fits, means over users; a row whose fits ended early at different steps goes
    as far as its shortest."""
    from matplotlib.figure import Figure

    counts = sorted({fit["examples"] for fit in fits})
    figure = Figure(figsize=(5 * len(counts), 4), layout="constrained")
    for axes, count in zip(np.atleast_1d(figure.subplots(1, len(counts))), counts, strict=True):
        for number, row in enumerate((FIRST_ORDER, *ROWS)):
            own = [fit for fit in fits if fit["row"] == row and fit["examples"] == count]
            if own:
                steps, nats = _curve(own)
                axes.plot(steps, nats, marker=".", color=f"C{number}", label=row)
        drawn = [line.get_ydata() for line in axes.lines]
        top = 1.1 * max(float(line[0]) for line in drawn)  # what gets worse leaves the picture
        low = 0.95 * min(float(min(line)) for line in drawn)
        axes.set(title=f"{count} examples", xlabel="steps", ylabel="nats", ylim=(low, top))
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=120)


def _curve(fits: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    last = min(fit["steps"][-1] for fit in fits)
    steps = sorted({step for fit in fits for step in fit["steps"] if step <= last})
    each = [np.interp(steps, fit["steps"], fit["nats"]) for fit in fits]
    return list(map(float, steps)), np.mean(each, axis=0).tolist()


if __name__ == "__main__":
    main()
