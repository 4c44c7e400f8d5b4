"""Result files: what `dsa-edge bench -o json` writes, and reading it again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from dsa_edge.errors import UsageError
from dsa_edge.runtime.bench._measure import FORMAT
from dsa_edge.runtime.bench._summary import ROWS

__all__ = ["LIST", "read_results", "schema", "to_json"]

LIST = "dsa-edge bench list 1"


def to_json(reports: Sequence[dict[str, Any]], failed: str | None = None) -> dict[str, Any]:
    """One report as it is, several as a list.

    failed: why there are fewer than were asked for.
    """
    if len(reports) == 1 and failed is None:
        return reports[0]
    why = {} if failed is None else {"failed": failed}
    return {"format": LIST, "reports": list(reports), **why}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a result file; `$defs/answer` is what a device prints."""
    text = files("dsa_edge.runtime.bench").joinpath("schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """The reports of a result file.

    Raises UsageError where it cannot be read or is none.
    """
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_result(path, str(error)) from error
    if not isinstance(found, dict) or found.get("format") not in (FORMAT, LIST):
        raise _no_result(path, f"its format is not {FORMAT!r}")
    reports = found.get("reports") if found["format"] == LIST else [found]
    if not isinstance(reports, list) or not reports:
        raise _no_result(path, "it has no reports")
    for report in reports:
        _check(path, report)
    return reports


def _check(path: str | Path, report: Any) -> None:
    """Refuse a report without what a comparison needs."""
    if not isinstance(report, dict):
        raise _no_result(path, "a report is no object")
    for key in ("settings", "results", "bundle"):
        if not isinstance(report.get(key), dict):
            raise _no_result(path, f"a report lacks {key!r}")
    if not isinstance(report.get("notes"), list):
        raise _no_result(path, "a report lacks 'notes'")
    if not _number(report.get("peak_mb"), 0):
        raise _no_result(path, "a report lacks 'peak_mb'")
    for kind, (_, unit) in ROWS.items():
        result = report["results"].get(kind)
        if not isinstance(result, dict) or result.get("unit") != unit:
            raise _no_result(path, f"a report lacks {kind!r} in {unit}")
        if not (_number(result.get("mean"), 0) and _number(result.get("sd"), -1)):
            raise _no_result(path, f"mean and sd of {kind!r} are no numbers")


def _number(value: object, above: float) -> bool:
    return type(value) in (int, float) and above < value < math.inf  # type: ignore[operator]


def _no_result(path: str | Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is no result of a bench ({why}): give what `dsa-edge bench -o json` wrote."
    )
