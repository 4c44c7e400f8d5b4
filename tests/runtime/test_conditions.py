"""When a device may learn: what Linux tells of it, and the gate that waits. Nothing here sleeps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsa_edge.errors import UsageError
from dsa_edge.runtime._conditions import Conditions, DeviceState, Gate, LinuxDevice, unmet


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


def supply(name: str, **fields: str) -> dict[str, str]:
    return {f"class/power_supply/{name}/{field}": text for field, text in fields.items()}


def zones(*pairs: tuple[str, str]) -> dict[str, str]:
    made = {}
    for number, (kind, temp) in enumerate(pairs):
        made[f"class/thermal/thermal_zone{number}/type"] = kind
        made[f"class/thermal/thermal_zone{number}/temp"] = temp
    return made


BATTERY = supply("BAT0", type="Battery", status="Discharging", capacity="34")
LAPTOP = {
    **BATTERY,
    **supply("AC", type="Mains", online="0"),
    **supply("hid-mouse", type="Battery", scope="Device", status="Discharging", capacity="3"),
    **zones(("x86_pkg_temp", "41500"), ("acpitz", "38000")),
}


def state(root: Path, files: dict[str, str]) -> DeviceState:
    return LinuxDevice(write(root / "sys", files), root / "proc").read()


def test_a_laptop_on_battery_and_on_its_charger(tmp_path: Path) -> None:
    assert state(tmp_path, LAPTOP) == DeviceState(False, 34, 41.5, None)
    plugged = {
        **supply("AC", type="Mains", online="1"),
        **supply("BAT0", type="Battery", status="Charging", capacity="35"),
    }
    assert state(tmp_path, plugged) == DeviceState(True, 35, 41.5, None)


@pytest.mark.parametrize(
    ("status", "charging"),
    [("Charging", True), ("Full", True), ("Not charging", True), ("Discharging", False),
     ("Unknown", None)],
)  # fmt: skip
def test_without_a_charger_of_its_own_the_battery_tells(
    tmp_path: Path, status: str, charging: bool | None
) -> None:
    files = supply("battery", type="Battery", status=status, capacity="80")
    assert state(tmp_path, files).charging is charging


def test_a_phone_with_several_chargers_and_batteries(tmp_path: Path) -> None:
    files = {
        **supply("usb", type="USB", online="0"),
        **supply("wireless", type="Wireless", online="1"),
        **supply("one", type="Battery", status="Charging", capacity="20"),
        **supply("two", type="Battery", status="Discharging", capacity="60"),
    }
    assert state(tmp_path, files) == DeviceState(True, 40, None, None)


@pytest.mark.parametrize(
    "power",
    [{}, supply("ucsi-source", type="USB", online="0"), supply("AC", type="Mains", online="1")],
)
def test_a_jetson_without_a_battery_is_on_external_power(
    tmp_path: Path, power: dict[str, str]
) -> None:
    heat = zones(("CPU-therm", "47000"), ("PMIC-Die", "100000"), ("GPU-therm", "-256000"))
    assert state(tmp_path, {**power, **heat}) == DeviceState(True, None, 47, None)


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert LinuxDevice(tmp_path / "none", tmp_path / "none").read() == DeviceState()
    files = {
        **supply("BAT0", type="Battery", status="¿", capacity="many"),
        **supply("AC", type="Mains", online=""),
        **zones(("a", "hot"), ("b", "1000000"), ("c", "nan")),
    }
    root = write(tmp_path / "sys", files)
    (root / "class/thermal/thermal_zone0/temp").write_bytes(b"\xff\xfe")
    (tmp_path / "stat").write_text("cpu 1 2 x 4 5\n")
    device = LinuxDevice(root, tmp_path)
    for content in ("cpu 1 2 x 4 5\n", "cpu 1 2\n", "", "intr 1 2 3 4 5\n"):
        (tmp_path / "stat").write_text(content)
        assert device.read() == DeviceState()
    (root / "class/power_supply/BAT0/type").unlink()  # it could be a battery
    (root / "class/power_supply/AC/online").write_text("1")
    assert device.read() == DeviceState()


def test_folders_that_may_not_be_read_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    device = LinuxDevice(write(tmp_path / "sys", LAPTOP), tmp_path)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert device.read() == DeviceState()


def test_busy_is_what_others_took_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [0.0]
    monkeypatch.setattr(os, "times", lambda: os.times_result((own[0], 0, 0, 0, 0)))
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    device = LinuxDevice(tmp_path, tmp_path)

    def look(*ticks: int) -> float | None:
        write(tmp_path, {"stat": "cpu  " + " ".join(map(str, ticks)) + "\ncpu0 1 2 3 4"})
        return device.read().busy

    assert look(100, 0, 50, 800, 50, 0, 0, 0, 7, 0) is None
    own[0] = 0.5  # 50 of the 80 ticks that the cores were busy
    assert look(160, 0, 70, 900, 70, 0, 0, 0, 7, 0) == pytest.approx(30 / 200)
    assert look(160, 0, 70, 900, 70, 0, 0, 0, 7, 0) is None  # no time between them
    own[0] = 3.0  # clocks differ a little: never less than nothing
    assert look(170, 0, 70, 990, 70, 0, 0, 0, 7, 0) == 0


def test_this_system_is_read_without_an_error() -> None:
    LinuxDevice().read()


def test_reasons_say_what_is_and_what_is_expected() -> None:
    wanted = Conditions(charging=True, battery=50, celsius=35, idle=0.25)
    assert unmet(wanted, DeviceState(False, 34, 41.3, 0.5)) == (
        "it is not on external power",
        "battery 34 %, expected at least 50 %",
        "41.3 °C, expected at most 35 °C",
        "other programs take 50 %, expected at most 25 %",
    )
    assert unmet(wanted, DeviceState(True, 50, 35, 0.25)) == ()
    assert unmet(Conditions(), DeviceState()) == ()


def test_what_is_not_known_counts_as_unmet() -> None:
    wanted = Conditions(charging=True, battery=50, celsius=35, idle=0.25)
    assert unmet(wanted, DeviceState()) == (
        "whether it charges is not known on this system",
        "the battery is not known on this system",
        "the temperature is not known on this system",
        "what other programs take is not known on this system",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"battery": 101}, "battery is 101, expected a number from 0 to 100"),
        ({"celsius": float("nan")}, "celsius is nan, expected a number from 0 to 150"),
        ({"idle": -0.1}, "idle is -0.1, expected a number from 0 to 1"),
        ({"check_seconds": 0}, "check_seconds is 0, expected a number more than 0"),
    ],
)
def test_conditions_that_nothing_meets_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Conditions(**given)  # type: ignore[arg-type]


class Clock:
    """Time that passes while one sleeps, and a device that changes with it."""

    def __init__(self, at: Callable[[float], DeviceState]) -> None:
        self.now, self.reads, self._at = 0.0, 0, at
        self.heard: list[tuple[str, ...]] = []

    def read(self) -> DeviceState:
        self.reads += 1
        return self._at(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def gate(self, conditions: Conditions) -> Gate:
        return Gate(conditions, self, self.heard.append, self.sleep, lambda: self.now)


def test_a_gate_that_may_go_on_looks_only_now_and_then() -> None:
    clock = Clock(lambda now: DeviceState(charging=True))
    gate = clock.gate(Conditions(charging=True, check_seconds=5))
    for _ in range(10):
        assert gate.wait() == 0
        clock.now += 1
    assert clock.reads == 2
    assert clock.heard == []


def test_a_gate_waits_for_the_charger_and_says_so_once() -> None:
    clock = Clock(lambda now: DeviceState(charging=now >= 22))
    gate = clock.gate(Conditions(charging=True))
    assert gate.wait() == 25
    assert gate.wait() == 0
    assert clock.heard == [("it is not on external power",), ()]


def test_heat_that_flaps_around_the_bound_makes_one_pause() -> None:
    degrees = [41, 39, 41, 39, 36, 35, 38, 39.5, 40, 41, 35]
    clock = Clock(lambda now: DeviceState(celsius=degrees[int(now / 5)]))
    gate, paused = clock.gate(Conditions(celsius=40)), []
    while clock.now < 50:
        paused.append(gate.wait())
        clock.now += 5
    assert paused == [25, 0, 0, 0, 5]
    assert clock.heard == [
        ("41.0 °C, expected at most 40 °C",), (), ("41.0 °C, expected at most 40 °C",), ()
    ]  # fmt: skip


def test_the_battery_must_gain_before_a_pause_ends() -> None:
    clock = Clock(lambda now: DeviceState(battery=49 + now / 5))
    assert clock.gate(Conditions(battery=50)).wait() == 30
    clock = Clock(lambda now: DeviceState(battery=min(100, 97 + now / 5)))
    assert clock.gate(Conditions(battery=98)).wait() == 15  # there is no 103 %


def test_what_fails_during_a_pause_has_its_margin_too() -> None:
    states = [(49, 30), (55, 41), (55, 38), (52, 35), (55, 36), (56, 35)]
    clock = Clock(lambda now: DeviceState(battery=states[int(now / 5)][0],
                                          celsius=states[int(now / 5)][1]))  # fmt: skip
    assert clock.gate(Conditions(battery=50, celsius=40)).wait() == 25
    assert clock.heard == [("battery 49 %, expected at least 50 %",), ()]


def test_a_gate_for_idle_devices_takes_its_first_look_when_made(tmp_path: Path) -> None:
    clock = Clock(lambda now: DeviceState(busy=0.1))
    gate = clock.gate(Conditions(idle=0.5))
    assert clock.reads == 1
    assert gate.wait() == 0


def test_a_listener_may_end_the_run() -> None:
    def stop(reasons: tuple[str, ...]) -> None:
        raise KeyboardInterrupt(reasons)

    clock = Clock(lambda now: DeviceState())
    gate = Gate(Conditions(battery=20), clock, stop, clock.sleep, lambda: clock.now)
    with pytest.raises(KeyboardInterrupt, match="the battery is not known"):
        gate.wait()
    assert clock.now == 0
