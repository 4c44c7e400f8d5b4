"""Reports as tables: Markdown for one who reads, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from dsa_edge.runtime.bench._summary import ROWS

__all__ = ["csv_of", "csv_text", "markdown", "settings_text", "varied", "with_deviation"]

Row = dict[str, Any]


def markdown(reports: Sequence[Row]) -> str:
    """The device, a table, and what to doubt below; of several reports each is a row."""
    if len(reports) == 1:
        body = _one(reports[0])
        notes = [f"warning: {note}" for note in reports[0]["notes"]]
    else:
        names = varied(reports)
        body = _several(reports, names)
        notes = [
            f"warning: {settings_text(report, names)}: {note}"
            for report in reports
            for note in report["notes"]
        ]
    return "\n".join([*_head(reports), "", *body, *(f"\n{note}" for note in notes)])


def csv_text(rows: Sequence[Row]) -> str:
    """One line a report: settings, mean and standard deviation of each kind, memory, sensors."""
    return csv_of([_flat(row) for row in rows])


def csv_of(rows: Sequence[Row]) -> str:
    """Rows of the same columns, with a header and without a last line end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")


def varied(reports: Sequence[Row]) -> list[str]:
    """The settings in which reports differ."""
    first = reports[0]["settings"]
    return [k for k in first if any(r["settings"].get(k) != first[k] for r in reports)]


def settings_text(report: Row, names: Sequence[str]) -> str:
    """Some of a report's settings, in words."""
    return ", ".join(f"{name.replace('_', ' ')} {report['settings'][name]}" for name in names)


def with_deviation(result: Row) -> str:
    """Mean ± standard deviation of a result, without its unit."""
    digits = 1 if result["mean"] >= 10 else 3
    return f"{result['mean']:.{digits}f} ± {result['sd']:.{digits}f}"


def _head(reports: Sequence[Row]) -> list[str]:
    """What all of them have in common: device, engine and settings."""
    first = reports[0]
    device, names = first["device"], varied(reports)
    shown = [first["target"], device.get("model") or device.get("processor"), device.get("system"),
             device.get("power") and f"power mode {device['power']}"]  # fmt: skip
    engines = {f"{r['engine']['backend']}, adapter on {r['engine']['kernels']}" for r in reports}
    same = [name for name in first["settings"] if name not in names]
    return [
        ", ".join(filter(None, shown)),
        f"{' or '.join(sorted(engines))}; {settings_text(first, same)}",
    ]


def _one(report: Row) -> list[str]:
    results = report["results"]
    return [
        "| what | mean ± deviation | runs |", "| --- | --- | --- |",
        *(
            f"| {name} | {with_deviation(results[kind])} {unit} | {len(results[kind]['runs'])} |"
            for kind, (name, unit) in ROWS.items()
        ),
        f"| peak memory | {report['peak_mb']:.0f} MB | 1 |",
        *(f"| {name} | {value} | |" for name, value in _sensors(report["sensors"])),
    ]  # fmt: skip


def _several(reports: Sequence[Row], names: Sequence[str]) -> list[str]:
    heads = [name.replace("_", " ") for name in names]
    heads += [f"{name}, {unit}" for name, unit in ROWS.values()]
    rows = [
        [
            *(str(report["settings"][name]) for name in names),
            *(with_deviation(report["results"][kind]) for kind in ROWS),
            f"{report['peak_mb']:.0f}",
            _before_after(report["sensors"], "celsius_most") or "–",
            _before_after(report["sensors"], "mhz_least") or "–",
        ]
        for report in reports
    ]
    heads += ["peak memory, MB", "hottest zone, °C", "slowest clock, MHz"]
    return [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]


def _sensors(sensors: Row) -> list[tuple[str, str]]:
    """Before → after the pass for time, and the extreme of it."""
    during, rows = sensors["during"], []
    for name, key, unit, word in (
        ("hottest zone", "celsius_most", "°C", "at most"),
        ("slowest clock", "mhz_least", "MHz", "at least"),
    ):
        if during[key] is not None:
            shown = _before_after(sensors, key)
            rows.append((name, f"{shown} {unit}, {word} {during[key]:.0f} {unit}"))
    return rows + [(f"rail {name}", f"{mw:.0f} mW") for name, mw in during["milliwatts"].items()]


def _before_after(sensors: Row, key: str) -> str:
    values = [sensors[when][key] for when in ("before", "after")]
    if None in values:
        return ""
    return " → ".join(f"{value:.0f}" for value in values)


def _flat(report: Row) -> Row:
    device, engine, sensors = report["device"], report["engine"], report["sensors"]
    row = {
        "target": report["target"], "model": device.get("model") or device.get("processor"),
        "engine": engine["backend"], "kernels": engine["kernels"],
        "bundle": report["bundle"]["identity"], **report["settings"],
    }  # fmt: skip
    for kind, (_, unit) in ROWS.items():
        column = f"{kind}_{unit.replace('/', '_per_')}"
        result = report["results"][kind]
        row |= {column: result["mean"], f"{column}_sd": result["sd"]}
    row["peak_mb"] = report["peak_mb"]
    for key in ("celsius_most", "mhz_least"):
        row |= {f"{key}_{when}": sensors[when][key] for when in ("before", "during", "after")}
    return row | {"notes": "; ".join(report["notes"])}
