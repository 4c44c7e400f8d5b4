"""A bench on a device: copy, wait until it is cool, measure while its sensors are read, sum up."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dsa_edge.bundle import Bundle
from dsa_edge.errors import TargetError, UsageError
from dsa_edge.runtime.bench._copies import copy_bundle, copy_runner
from dsa_edge.runtime.bench._device import FACTS, READING, Reading, parse_facts, parse_reading
from dsa_edge.runtime.bench._measure import FORMAT
from dsa_edge.runtime.bench._settings import Settings
from dsa_edge.runtime.bench._summary import summary
from dsa_edge.runtime.bench._target import Adb, Local, Target

__all__ = ["KINDS", "Session", "bench"]

KINDS = ("load", "prompt", "generate", "probe", "switch")
CHECK = 5.0  # seconds between two looks at the temperature
QUICK = 60.0  # seconds for a device to tell of itself
# Where jetson_install.sh puts it, as sh finds it.
PYTHON = '"$(p=$HOME/dsa-edge/bin/python; [ -x "$p" ] && echo "$p" || echo python3)"'
MARK = "-- dsa-edge sensors --"


@dataclass(frozen=True)
class Session:
    """How a bench is run.

    runner: folder of the native program; None measures with Python, which the device must have.
    python: what starts it there; None takes that of `jetson_install.sh`, else python3.
    celsius: the hottest zone at most before it begins, or None; cool_seconds: how long to wait for
    that. timeout: seconds for each pass.
    """

    runner: Path | None = None
    python: str | None = None
    celsius: float | None = None
    cool_seconds: float = 300
    timeout: float = 1800

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could meet."""
        for name in ("cool_seconds", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}, expected a number more than 0.")


def bench(
    path: str | Path,
    target: Target,
    settings: Sequence[Settings],
    session: Session,
    say: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Measure a bundle on a device, and yield for each of `settings` what `summary` makes of it.

    say: called with what is done next.
    Raises TargetError where the device cannot be reached, has no room or fails, and BundleError and
    UsageError before anything is copied.
    """
    if isinstance(target, Adb) and session.runner is None:
        raise UsageError("phones have no Python: give --runner, the folder of dsa_runner for it.")
    bundle = Bundle.open(path, check_hashes=False)
    for each in settings:
        each.check_fits(int(bundle.manifest.decoder["max_positions"]))
    say(f"copying to {target.name}")
    program = _command(session, target), copy_bundle(bundle, target)
    facts = parse_facts(target.run(FACTS, QUICK))
    for i, each in enumerate(settings):
        count = f"{i + 1} of {len(settings)}: " if len(settings) > 1 else ""
        command = *program, *each.arguments()
        report = _measured(target, facts, command, session, partial(_counted, say, count), sleep)
        # A program that measures may tell of fewer settings than it was given.
        yield report | {"settings": asdict(each) | report["settings"]}


def _counted(say: Callable[[str], object], count: str, what: str) -> None:
    say(count + what)


def _measured(
    target: Target, facts: dict[str, str], command: tuple[str, ...], session: Session,
    say: Callable[[str], object], sleep: Callable[[float], object],
) -> dict[str, Any]:  # fmt: skip
    """One report: time and memory in passes of their own, sensors around and during the first."""
    say("waiting for it to cool")
    notes = _cooled(target, session, sleep)
    before = parse_reading(target.run(READING, QUICK))
    say("measuring the time")
    timed, during = _timed(target, command, session)
    after = parse_reading(target.run(READING, QUICK))
    say("measuring the memory")
    peak = _answer(target, target.run(_words(command, "memory", session), session.timeout))
    return summary(target.name, facts, timed | {"peak_mb": _peak(target, peak)}, notes, before,
                   during, after)  # fmt: skip


def _command(session: Session, target: Target) -> str:
    """What measures, as sh takes it."""
    if session.runner is None:
        here = sys.executable if isinstance(target, Local) else None
        python = session.python or here
        return f"{shlex.quote(python) if python else PYTHON} -m dsa_edge.runtime.bench"
    program = copy_runner(session.runner, target)
    folder = shlex.quote(str(Path(program).parent))
    return f"LD_LIBRARY_PATH={folder}:{folder}/lib {shlex.quote(program)} bench"


def _words(command: tuple[str, ...], which: str, session: Session) -> str:
    """One pass, as sh takes it: ended by the device itself where we no longer wait for it."""
    program, *rest = command
    limit = f"$(command -v timeout > /dev/null && echo timeout {math.ceil(session.timeout) + 5})"
    return " ".join([limit, "env", program, *map(shlex.quote, [*rest, "--pass", which])])


def _cooled(target: Target, session: Session, sleep: Callable[[float], object]) -> list[str]:
    """Wait until the device is cool enough; what to note where it does not get so."""
    if session.celsius is None:
        return []
    waited = 0.0
    while True:
        celsius = parse_reading(target.run(READING, QUICK)).celsius
        if celsius is None:
            return ["the device tells no temperature, so it was not waited for"]
        if celsius <= session.celsius:
            return []
        if waited >= session.cool_seconds:
            return [
                f"still {celsius:.0f} °C after {waited:.0f} s, wanted were {session.celsius:.0f} °C"
            ]
        sleep(CHECK)
        waited += CHECK


def _timed(
    target: Target, command: tuple[str, ...], session: Session
) -> tuple[dict[str, Any], list[Reading]]:
    """The pass for time, while the sensors are read once a second."""
    script = f"""
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
(while :; do {READING}
echo; sleep 1; done) > "$log" 2> /dev/null < /dev/null &
sampler=$!
{_words(command, "time", session)}
code=$?
kill "$sampler"
printf '\\n%s\\n' '{MARK}'
cat "$log"
exit "$code"
"""
    said, _, sampled = target.run(script, session.timeout).partition(f"\n{MARK}\n")
    return _seconds(target, said), [parse_reading(part) for part in sampled.split("\n\n") if part]


def _answer(target: Target, said: str) -> dict[str, Any]:
    """The JSON object that a pass printed; around it may be what a login says."""
    for line in reversed(said.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and found.get("format") == FORMAT:
                return found
    raise TargetError(
        f"{target.name} answered with no measurement ({said.strip()[:80]!r}), expected "
        f"{FORMAT!r}: have the same dsa-edge there as here."
    )


def _seconds(target: Target, said: str) -> dict[str, Any]:
    found = _answer(target, said)
    seconds = found.get("seconds")
    runs = seconds.values() if isinstance(seconds, dict) and set(seconds) == set(KINDS) else [None]
    if not all(isinstance(each, list) and each and all(map(_positive, each)) for each in runs):
        raise TargetError(
            f"{target.name} answered with other than seconds of {', '.join(KINDS)}: have the same "
            "dsa-edge there as here."
        )
    return found


def _peak(target: Target, found: dict[str, Any]) -> float:
    peak = found.get("peak_mb")
    if not _positive(peak):
        raise TargetError(f"{target.name} told no peak memory: have the same dsa-edge there.")
    return float(peak)  # type: ignore[arg-type]


def _positive(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value < math.inf  # type: ignore[operator]
