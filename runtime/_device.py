"""How a device is: its power, its heat and how busy others keep it, as Linux's files tell it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["HOTTEST", "Device", "DeviceState", "LinuxDevice"]

COLDEST, HOTTEST = -40.0, 150.0  # °C; a zone beyond them has no working sensor
BATTERIES = ("Battery", "UPS")
POWERED = {"Charging": True, "Full": True, "Not charging": True, "Discharging": False}


@dataclass(frozen=True)
class DeviceState:
    """A device now; None is not known.

    charging: on external power. battery: percent. celsius: hottest zone, °C.
    busy: share (0 … 1) of all cores that other programs took since the last look.
    """

    charging: bool | None = None
    battery: float | None = None
    celsius: float | None = None
    busy: float | None = None


class Device(Protocol):
    """Tells how a device is; apps supply their own, as over Android's BatteryManager."""

    def read(self) -> DeviceState:
        """The state now; what cannot be known is None, and nothing is raised."""
        ...


class LinuxDevice:
    """A device as Linux's files tell it; sys and proc: where they are mounted.

    A board without a battery is on external power. Of several batteries the mean counts.
    """

    def __init__(self, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        self._sys, self._proc = sys, proc
        self._before: tuple[float, float] | None = None

    def read(self) -> DeviceState:
        """See `Device`; `busy` is None at the first call."""
        charging, battery = self._power()
        return DeviceState(charging, battery, self._celsius(), self._busy())

    def _power(self) -> tuple[bool | None, float | None]:
        supplies = _entries(self._sys / "class" / "power_supply")
        if supplies is None or not os.path.isdir(self._sys / "class"):
            return None, None
        # A mouse or a headset tells of its own battery.
        own = [entry for entry in supplies if _text(entry / "scope") != "Device"]
        kinds = {entry: _text(entry / "type") for entry in own}
        batteries = [entry for entry in own if kinds[entry] in BATTERIES]
        if not batteries:
            return (None if None in kinds.values() else True), None
        levels = [_number(entry / "capacity", 0, 100) for entry in batteries]
        known = [level for level in levels if level is not None]
        mean = sum(known) / len(known) if len(known) == len(levels) else None
        return _charging([e for e in own if e not in batteries], batteries), mean

    def _celsius(self) -> float | None:
        found = []
        for zone in _entries(self._sys / "class" / "thermal") or ():
            # A Jetson's PMIC-Die says 100 °C whatever it is.
            if zone.name.startswith("thermal_zone") and not _is_pmic(zone):
                found.append(_number(zone / "temp", 1e3 * COLDEST, 1e3 * HOTTEST))
        return max((milli / 1e3 for milli in found if milli is not None), default=None)

    def _busy(self) -> float | None:
        """Share of all cores that others took since the last call."""
        now, before = self._ticks(), self._before
        self._before = now
        if now is None or before is None or now[0] <= before[0]:
            return None
        return min(1.0, max(0.0, (now[1] - before[1]) / (now[0] - before[0])))

    def _ticks(self) -> tuple[float, float] | None:
        """Ticks of all cores since the start: all, and those that others were busy."""
        first, *fields = (_text(self._proc / "stat") or "").partition("\n")[0].split() or [""]
        try:  # user nice system idle iowait irq softirq steal; what guests take is in user
            ticks = [float(field) for field in fields[:8]]
        except ValueError:
            return None
        if first != "cpu" or len(ticks) < 5:
            return None
        times = os.times()
        own = (times.user + times.system) * os.sysconf("SC_CLK_TCK")
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4] - own


def _charging(supplies: list[Path], batteries: list[Path]) -> bool | None:
    """Whether a charger says that it is on, or, where none says anything, a battery."""
    online = [_number(entry / "online", 0, 9) for entry in supplies]
    known = [value > 0 for value in online if value is not None]
    if known:
        return any(known)
    told = [POWERED.get(_text(entry / "status") or "") for entry in batteries]
    return None if None in told else any(told)


def _is_pmic(zone: Path) -> bool:
    return (_text(zone / "type") or "").upper().startswith("PMIC")


def _entries(folder: Path) -> list[Path] | None:
    """What is in a folder; nothing where it is missing, None where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _number(path: Path, low: float, high: float) -> float | None:
    """A number in a file; None where there is none, or none between low and high."""
    try:
        value = float(_text(path) or "")
    except ValueError:
        return None
    return value if low <= value <= high else None
