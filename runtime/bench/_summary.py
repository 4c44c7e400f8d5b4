"""Raw seconds become rates with their deviation, and warnings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from dsa_edge.runtime.bench._device import Reading

__all__ = ["ROWS", "summary"]

UNSTABLE = 0.1  # of the mean: a deviation beyond it is no measurement
SLOWED = 0.8  # of the highest clock: below it something holds the processor back
ROWS = {
    "prompt": ("prompt", "tokens/s"),
    "generate": ("generation", "tokens/s"),
    "probe": ("step", "ms"),
    "switch": ("adapter switch", "ms"),
    "load": ("start to first probe", "s"),
}


def summary(
    target: str,
    facts: dict[str, str],
    found: dict[str, Any],
    notes: Sequence[str],
    before: Reading,
    during: Sequence[Reading],
    after: Reading,
) -> dict[str, Any]:
    """The report: for each kind of work mean, standard deviation and runs in its unit, and notes.

    found: of a pass for time, with `peak_mb` of the other pass.
    """
    results = {
        kind: _result(kind, found["seconds"][kind], found["tokens"].get(kind)) for kind in ROWS
    }
    sensors = {
        "before": before.to_dict(), "after": after.to_dict(), "during": _during([*during, after])
    }  # fmt: skip
    return {
        "format": found["format"], "target": target, "device": facts, "engine": found["engine"],
        "bundle": found["bundle"], "settings": found["settings"], "results": results,
        "peak_mb": found["peak_mb"], "sensors": sensors,
        "notes": [*notes, *_unstable(results), *_held_back(before, during)],
    }  # fmt: skip


def _result(kind: str, seconds: Sequence[float], tokens: int | None) -> dict[str, Any]:
    unit = ROWS[kind][1]
    if unit == "tokens/s":
        runs = [(tokens or 0) / each for each in seconds]
    else:
        runs = [each * (1e3 if unit == "ms" else 1) for each in seconds]
    spread = statistics.stdev(runs) if len(runs) > 1 else 0.0
    return {"mean": statistics.mean(runs), "sd": spread, "unit": unit, "runs": runs}


def _during(readings: Sequence[Reading]) -> dict[str, Any]:
    """The hottest, the slowest, and each rail's mean."""
    celsius = [r.celsius for r in readings if r.celsius is not None]
    clocks = [r.mhz for r in readings if r.mhz is not None]
    rails = {name for reading in readings for name in reading.rails}
    means = {
        name: statistics.mean(r.rails[name] for r in readings if name in r.rails)
        for name in sorted(rails)
    }
    return {
        "celsius_most": max(celsius, default=None), "mhz_least": min(clocks, default=None),
        "milliwatts": means,
    }  # fmt: skip


def _unstable(results: dict[str, Any]) -> list[str]:
    return [
        f"{ROWS[kind][0]} varies by {result['sd'] / result['mean']:.0%} between runs: end other "
        "programs, let the device cool, or ask for more repeats"
        for kind, result in results.items()
        if result["sd"] > UNSTABLE * result["mean"]
    ]


def _held_back(before: Reading, during: Sequence[Reading]) -> list[str]:
    """Whether the clocks fell while all cores worked; the first reading may be of an idle one."""
    most = min((most for _, most in before.clocks.values()), default=None)
    working = [reading.mhz for reading in during[1:] if reading.mhz is not None]
    if most is None or not working or min(working) >= SLOWED * most:
        return []
    return [
        f"a core ran at {min(working):.0f} of {most:.0f} MHz: the power mode, heat or the governor "
        "holds it back"
    ]
