"""When a device may learn: on a charger, not hot, not busy; and a gate that waits until it may.

What the system does not tell counts as not met, so a phone that hides its battery is not drained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from dsa_edge.errors import UsageError
from dsa_edge.runtime._device import HOTTEST, Device, DeviceState, LinuxDevice

__all__ = ["Conditions", "Device", "DeviceState", "Gate", "LinuxDevice", "never_met", "unmet"]

UNKNOWN = "is not known on this system"
COOLER, FULLER = 5.0, 5.0  # °C below and percent above the bound, at which a pause ends


@dataclass(frozen=True)
class Conditions:
    """What a device must be like to go on learning; None asks for nothing.

    charging: it must be on external power. battery: at least so many percent.
    celsius: its hottest zone at most so many °C.
    idle: it must be idle but for us; programs other than this one use at most this share (0 … 1)
    of all cores. check_seconds: how often it is looked at.
    """

    charging: bool = False
    battery: float | None = None
    celsius: float | None = None
    idle: float | None = None
    check_seconds: float = 5

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could meet."""
        for name, most in (("battery", 100), ("celsius", HOTTEST), ("idle", 1)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"{name} is {value}, expected a number from 0 to {most:.0f}.")
        if not 0 < self.check_seconds < float("inf"):
            raise UsageError(
                f"check_seconds is {self.check_seconds}, expected a number more than 0."
            )


class Gate:
    """Holds a run back while the device is not as it should be.

    on_pause: called with the reasons when a pause begins and with () when it ends; it may raise to
        end the run instead, as where a wanted value is never known.
    A pause for heat ends 5 °C below the bound and one for the battery 5 % above it, at most at
    100 %: at the bound itself a run would stop and go with every step.
    """

    def __init__(
        self,
        conditions: Conditions,
        device: Device,
        on_pause: Callable[[tuple[str, ...]], object],
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conditions, self._device, self._on_pause = conditions, device, on_pause
        self._sleep, self._clock = sleep, clock
        self._checked: float | None = None
        if conditions.idle is not None:
            device.read()  # what others take shows between two reads

    def wait(self) -> float:
        """Return when the device may learn; looks at it at most every `check_seconds`.

        Returns the seconds that this took, 0 where it may at once.
        """
        began = self._clock()
        if self._checked is not None and began - self._checked < self._conditions.check_seconds:
            return 0.0
        failed = _failed(self._conditions, self._device.read())
        if failed:
            self._pause(failed)
        self._checked = self._clock()
        return self._checked - began if failed else 0.0

    def _pause(self, failed: dict[str, str]) -> None:
        self._on_pause(tuple(failed.values()))
        strict = set[str]()
        while failed:
            strict |= set(failed)
            self._sleep(self._conditions.check_seconds)
            failed = _failed(self._conditions, self._device.read(), strict)
        self._on_pause(())


def unmet(conditions: Conditions, state: DeviceState) -> tuple[str, ...]:
    """Why a device may not learn now, in short phrases; what is not known counts as unmet."""
    return tuple(_failed(conditions, state).values())


def never_met(conditions: Conditions, device: Device) -> tuple[str, ...]:
    """What a device cannot tell, so that a run which asks for it would wait for good."""
    state = device.read()
    if conditions.idle is not None:
        state = device.read()  # what others take shows between two reads
    return tuple(reason for reason in unmet(conditions, state) if reason.endswith(UNKNOWN))


def _failed(
    conditions: Conditions, state: DeviceState, strict: Collection[str] = ()
) -> dict[str, str]:
    """The conditions that are not met, each with its phrase; strict: those with a margin."""
    failed = {}
    if conditions.charging and not state.charging:
        unknown = f"whether it charges {UNKNOWN}"
        failed["charging"] = unknown if state.charging is None else "it is not on external power"
    if conditions.battery is not None:
        least = min(100.0, conditions.battery + FULLER * ("battery" in strict))
        if state.battery is None:
            failed["battery"] = f"the battery {UNKNOWN}"
        elif state.battery < least:
            failed["battery"] = f"battery {state.battery:.0f} %, expected at least {least:.0f} %"
    if conditions.celsius is not None:
        most = conditions.celsius - COOLER * ("celsius" in strict)
        if state.celsius is None:
            failed["celsius"] = f"the temperature {UNKNOWN}"
        elif state.celsius > most:
            failed["celsius"] = f"{state.celsius:.1f} °C, expected at most {most:.0f} °C"
    if conditions.idle is not None:
        if state.busy is None:
            failed["idle"] = f"what other programs take {UNKNOWN}"
        elif state.busy > conditions.idle:
            percent = f"{100 * state.busy:.0f} %, expected at most {100 * conditions.idle:.0f} %"
            failed["idle"] = f"other programs take {percent}"
    return failed


def waiting(
    conditions: Conditions | None, device: Device, on_pause: Callable[[tuple[str, ...]], object]
) -> Callable[[], float]:
    """What waits until the conditions are met, and returns for how many seconds it did.

    Raises UsageError for conditions that a device can never tell to be met.
    """
    if conditions is None:
        return lambda: 0.0
    unknown = never_met(conditions, device)
    if unknown:
        raise UsageError(
            f"the conditions can never be met: {', '.join(unknown)}. Leave them out, or set "
            "`device` to one that knows."
        )
    return Gate(conditions, device, on_pause).wait
