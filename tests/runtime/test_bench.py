"""`dsa-edge bench`: here, and on a board and a phone that are folders of the test (`boards.py`)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import FAULTS, QUICK, SECONDS, Board, check, one, runner, session

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import TargetError, UsageError
from dsa_edge.runtime.bench import (
    Session,
    Settings,
    markdown,
    target_of,
)
from dsa_edge.runtime.bench._device import parse_facts, parse_reading
from dsa_edge.runtime.bench._measure import measured

TARGETS = ("ssh:me@board", "adb", "adb:0123456789")
MESSAGES = {
    "unreachable": "cannot be reached .*(No route to host|no devices)",
    "full": "has no space left .*free some",
    "killed": "was killed .*short of memory",
    "garbage": "answered with no measurement .*have the same dsa-edge there",
    "missing": "exit code 1 .*No module named dsa_edge",
    "slow": "did not finish within 1 s: ask for less work",
    "damaged": "tokenizer.json arrived damaged",
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    made.install(monkeypatch)
    return made


def test_this_machine_is_measured(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), *QUICK.arguments(), "-o", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["engine"]["backend"] == "onnx"
    assert report["target"] == "local"
    for kind, unit in (("prompt", "tokens/s"), ("generate", "tokens/s"), ("probe", "ms")):
        found = report["results"][kind]
        assert found["unit"] == unit
        assert len(found["runs"]) == QUICK.repeats  # without the warm-up
        assert all(run > 0 for run in found["runs"])
    assert 20 < report["peak_mb"] < 2000
    assert report["bundle"]["identity"] == Bundle.open(bundle).identity
    check(report)


@pytest.mark.parametrize("which", ["time", "memory"])
def test_what_a_device_prints_is_in_the_schema(bundle: Path, which: str) -> None:
    check(measured(str(bundle), which, replace(QUICK, repeats=2)), "answer")


def test_a_board_is_measured_with_its_own_python(
    bundle: Path, board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--target", "ssh:me@board", "--python", sys.executable, *QUICK.arguments()]
    assert main(["bench", str(bundle), *options]) == 0
    shown = capsys.readouterr().out
    assert "NVIDIA Jetson Orin Nano" in shown
    assert "power mode 15W" in shown
    sensors = "| hottest zone | 40 → 40 °C, at most 40 °C | |\n" + (
        "| slowest clock | 1500 → 1500 MHz, at least 1500 MHz | |\n| rail VDD_IN | 6000 mW | |"
    )
    assert sensors in shown
    for row in ("prompt", "generation", "step", "adapter switch", "peak memory"):
        assert f"| {row} |" in shown


@pytest.mark.parametrize("name", TARGETS)
def test_the_native_runner_is_copied_once_and_measured(
    name: str, bundle: Path, board: Board, tmp_path: Path
) -> None:
    reports = []
    for _ in range(2):
        reports.append(one(bundle, target_of(name), session(tmp_path)))
        pushes = board.pushes
    assert pushes == board.pushes > 0
    results = reports[0]["results"]
    assert results["prompt"]["mean"] == 128  # 64 tokens in half a second
    assert results["generate"]["mean"] == 15.5
    assert results["probe"]["mean"] == 250
    assert reports[0]["peak_mb"] == 99.5
    assert reports[0]["sensors"]["before"]["celsius"]["cpu-thermal"] == 40
    assert reports[0]["notes"] == []
    before = board.pushes
    (board.folder / "home").rename(board.folder / "old")  # the board was set up anew
    (board.folder / "tmp").rename(board.folder / "old-tmp")
    (board.folder / "home").mkdir()
    (board.folder / "tmp").mkdir()
    one(bundle, target_of(name), session(tmp_path))
    assert board.pushes > before


@pytest.mark.parametrize("name", TARGETS[:2])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_on_the_way_is_one_sentence(
    fault: str, name: str, bundle: Path, board: Board, tmp_path: Path
) -> None:
    board.fault = fault
    limits = session(tmp_path, timeout=1 if fault == "slow" else 60)
    with pytest.raises(TargetError, match=MESSAGES[fault]) as caught:
        one(bundle, target_of(name), limits)
    assert "\n" not in str(caught.value)
    board.fault = "none"  # nothing was left that a second try stumbles over
    assert one(bundle, target_of(name), limits)["peak_mb"] == 99.5


def test_what_a_login_says_is_not_the_answer(bundle: Path, board: Board, tmp_path: Path) -> None:
    board.fault = "banner"
    report = one(bundle, target_of("ssh:board"), session(tmp_path))
    assert report["results"]["probe"]["mean"] == 250


def test_it_waits_until_the_device_is_cool(bundle: Path, board: Board, tmp_path: Path) -> None:
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        board.sensors(celsius=70 - 10 * len(waited))

    board.sensors(celsius=70)
    limits = session(tmp_path, celsius=45)
    report = one(bundle, target_of("ssh:board"), limits, sleep=sleep)
    assert len(waited) == 3
    assert report["notes"] == []
    board.sensors(celsius=70)
    limits = session(tmp_path, celsius=45, cool_seconds=20)
    report = one(bundle, target_of("ssh:board"), limits, sleep=lambda _: None)
    assert report["notes"] == ["still 70 °C after 20 s, wanted were 45 °C"]


def test_unsteady_runs_and_slow_clocks_are_told(bundle: Path, board: Board, tmp_path: Path) -> None:
    board.sensors(mhz=700)
    unsteady = runner(tmp_path / "runner", SECONDS | {"probe": [0.2, 0.4]}, works=1.5)
    report = one(bundle, target_of("ssh:board"), Session(unsteady))
    unsteady_note, slow_note = report["notes"]
    assert "step varies by 47% between runs" in unsteady_note
    assert "a core ran at 700 of 1510 MHz" in slow_note
    assert markdown([report]).count("warning: ") == 2


@pytest.mark.parametrize(
    "seconds",
    [
        {**SECONDS, "probe": [0.0]}, {**SECONDS, "probe": []}, {**SECONDS, "probe": ["1"]},
        {**SECONDS, "probe": [float("nan")]}, {"probe": [1.0]}, [1.0], None,
    ],
)  # fmt: skip
def test_seconds_that_cannot_be_are_refused(
    seconds: Any, bundle: Path, board: Board, tmp_path: Path
) -> None:
    limits = Session(runner(tmp_path / "odd", seconds))
    with pytest.raises(TargetError, match="answered with other than seconds of load, prompt"):
        one(bundle, target_of("ssh:board"), limits)


@pytest.mark.parametrize(
    "name", ["ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "adb:-s", "adb:", "telnet:x", "Local", ""]
)
def test_other_targets_are_refused(name: str, board: Board) -> None:
    with pytest.raises(UsageError, match="use local, ssh:user@host, adb or adb:SERIAL"):
        target_of(name)


def test_wrong_use_is_told_before_anything_is_copied(
    bundle: Path, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="phones have no Python: give --runner"):
        one(bundle, target_of("adb"), Session())
    with pytest.raises(UsageError, match="no dsa_runner in"):
        one(bundle, target_of("adb"), Session(tmp_path))
    with pytest.raises(UsageError, match="lanes is 3, expected an even number"):
        Settings(lanes=3)
    with pytest.raises(UsageError, match="timeout is nan"):
        Session(timeout=float("nan"))
    assert board.pushes == 0
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TargetError, match="`adb` is not installed here"):
        target_of("adb")


def test_a_prompt_that_does_not_fit_is_told(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(bundle), "--prompt-tokens", "8,5000"]) == 2  # before any is measured
    assert "this base has room for" in capsys.readouterr().err


def test_odd_answers_of_a_device_are_left_out() -> None:
    text = "zone\tcpu\t41000\nzone\tcpu\t45000\nzone\tx\tabc\nrail\t\t1 2\nclock\tcpu0\t1\nzone"
    reading = parse_reading(f"{text}\nzone\tbroken\t9e99\nzone\ty\t\nrail\tVIN\t5000 200\n\x00\t\t")
    assert reading.zones == {"cpu": 45.0}
    assert reading.rails == {"VIN": 1000.0}
    assert reading.celsius == 45.0
    assert parse_reading("").celsius is None
    facts = parse_facts(f"model\t{'x' * 999}\nother\ty\npower\tNV Power Mode: MAXN\nmachine\t")
    assert facts == {"model": "x" * 200, "power": "MAXN"}
