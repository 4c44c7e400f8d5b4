"""Two result files side by side: ratios, and which differences are beyond the deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dsa_edge.errors import UsageError
from dsa_edge.runtime.bench._summary import ROWS
from dsa_edge.runtime.bench._tables import csv_of, settings_text, varied, with_deviation

__all__ = ["compare", "compare_csv", "compare_markdown"]

Row = dict[str, Any]
COMPARISON = "dsa-edge bench compare 1"
WITHIN, SINGLE = "within the deviation", "measured once"


def compare(first: Sequence[Row], second: Sequence[Row]) -> Row:
    """Every kind of work in both, with the ratio second / first.

    Reports with the same settings are held against each other; of two single reports, these two.
    A difference counts where it is more than both standard deviations together, √(s₁² + s₂²).
    Raises UsageError where no settings are in both.
    """
    pairs = _pairs(first, second)
    if not pairs:
        raise UsageError("no settings are in both files: measure the same ones twice.")
    names = varied([one for one, _ in pairs]) if len(pairs) > 1 else []
    rows = [
        {"settings": {name: one["settings"][name] for name in names}, **row}
        for one, other in pairs
        for row in _rows(one, other)
    ]
    return {"format": COMPARISON, "rows": rows, "notes": _notes(first, second, pairs)}


def compare_markdown(found: Row) -> str:
    """A comparison as a table."""
    lines = ["| what | first | second | ratio | second is |", "| --- | --- | --- | --- | --- |"]
    for row in found["rows"]:
        settings = settings_text(row, list(row["settings"]))
        what = f"{row['what']}, {row['unit']}" + (f" ({settings})" if settings else "")
        one, other = (_cell(row[side]) for side in ("first", "second"))
        lines.append(f"| {what} | {one} | {other} | {row['ratio']:.3f} | {row['verdict']} |")
    return "\n".join([*lines, *(f"\nwarning: {note}" for note in found["notes"])])


def compare_csv(found: Row) -> str:
    """A comparison with a line for each kind of work."""
    rows = [
        {
            **row["settings"], "what": row["what"], "unit": row["unit"],
            **{f"{side}{end}": row[side].get(key) for side in ("first", "second")
               for end, key in (("", "mean"), ("_sd", "sd"))},
            "ratio": row["ratio"], "verdict": row["verdict"],
        }
        for row in found["rows"]
    ]  # fmt: skip
    return csv_of(rows)


def _pairs(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[Row, Row]]:
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    return [
        (one, other) for one in first for other in second if one["settings"] == other["settings"]
    ]


def _rows(one: Row, other: Row) -> list[Row]:
    rows = []
    for kind, (name, unit) in ROWS.items():
        sides = [{key: r["results"][kind][key] for key in ("mean", "sd")} for r in (one, other)]
        rows.append(_row(name, unit, *sides))
    return [*rows, _row("peak memory", "MB", {"mean": one["peak_mb"]}, {"mean": other["peak_mb"]})]


def _row(name: str, unit: str, one: Row, other: Row) -> Row:
    ratio = other["mean"] / one["mean"]
    row = {"what": name, "unit": unit, "first": one, "second": other, "ratio": ratio}
    if "sd" not in one:
        return row | {"beyond": None, "verdict": SINGLE}
    beyond = abs(other["mean"] - one["mean"]) > math.hypot(one["sd"], other["sd"])
    faster = (ratio > 1) == (unit == "tokens/s")
    verdict = ("faster" if faster else "slower") if beyond else WITHIN
    return row | {"beyond": beyond, "verdict": verdict}


def _cell(side: Row) -> str:
    return with_deviation(side) if "sd" in side else f"{side['mean']:.0f}"


def _notes(first: Sequence[Row], second: Sequence[Row], pairs: list[tuple[Row, Row]]) -> list[str]:
    """What makes the two less alike than they look."""
    notes = []
    if any(
        one["bundle"].get("identity") != other["bundle"].get("identity") for one, other in pairs
    ):
        notes.append("the bundles differ")
    differing = varied([first[0], second[0]]) if len(first) == len(second) == 1 else []
    if differing:
        notes.append(f"the settings differ in {', '.join(differing)}")
    left = len(first) + len(second) - 2 * len(pairs)
    if left:
        notes.append(f"{left} reports have no counterpart in the other file")
    for side, reports in (("first", first), ("second", second)):
        notes += [f"{side}: {note}" for report in reports for note in report["notes"]]
    return notes
