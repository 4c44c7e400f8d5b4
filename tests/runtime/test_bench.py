"""`dsa-edge bench`: here, and on a board and a phone that are folders of the test (`boards.py`)."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import FAULTS, SECONDS, Board, runner

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import TargetError, UsageError
from dsa_edge.runtime.bench import (
    Session,
    Settings,
    bench,
    compare,
    markdown,
    read_results,
    schema,
    target_of,
)
from dsa_edge.runtime.bench._device import parse_facts, parse_reading
from dsa_edge.runtime.bench._measure import measured

QUICK = Settings(prompt_tokens=16, new_tokens=3, lanes=4, batch=2, warmup=1, repeats=2, threads=1)
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


def session(tmp_path: Path, **changes: Any) -> Session:
    folder = tmp_path / "runner"
    return Session(folder if folder.exists() else runner(folder), **changes)


def one(*given: Any, **more: Any) -> dict[str, Any]:
    """The report of a bench with the quick settings alone."""
    path, target, *rest = given
    (report,) = bench(path, target, [QUICK], *rest, **more)
    return report


def check(report: Any, part: str | None = None) -> None:
    """Hold JSON against the schema, or against one of its parts."""
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    wanted = schema()
    if part is not None:
        wanted = {"$ref": f"#/$defs/{part}", "$defs": wanted["$defs"]}
    jsonschema.Draft202012Validator.check_schema(wanted)
    jsonschema.validate(report, wanted, cls=jsonschema.Draft202012Validator)


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


LISTS = ("--prompt-tokens", "32,64", "--lanes", "4,8,4")


def listed(bundle: Path, tmp_path: Path, *more: str) -> int:
    folder = tmp_path / "runner"
    given = [
        "--target",
        "ssh:board",
        "--runner",
        str(folder if folder.exists() else runner(folder)),
    ]
    return main(["bench", str(bundle), *given, *LISTS, *more])


def test_every_combination_of_lists_is_a_row(
    bundle: Path, board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(bundle, tmp_path, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    check(found)
    settings = [report["settings"] for report in found["reports"]]
    assert [(s["prompt_tokens"], s["lanes"]) for s in settings] == [
        (32, 4),
        (32, 8),
        (64, 4),
        (64, 8),
    ]
    pushes = board.pushes
    assert listed(bundle, tmp_path) == 0
    assert board.pushes == pushes  # copied once, for all of them
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith(
        "| prompt tokens | lanes | prompt, tokens/s | generation, tokens/s |"
    )
    assert lines[5].startswith("| 32 | 4 | 128.0 ± 0.0 | 15.5 ± 0.0 | 250.0 ± 0.0 |")
    assert lines[8].endswith("| 100 | 40 → 40 | 1500 → 1500 |")
    assert listed(bundle, tmp_path, "-o", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["prompt_tokens"], row["lanes"]) for row in rows] == [
        ("32", "4"), ("32", "8"), ("64", "4"), ("64", "8")
    ]  # fmt: skip
    assert rows[0]["prompt_tokens_per_s"] == "128.0"
    assert rows[0]["celsius_most_before"] == "40.0"
    with pytest.raises(SystemExit, match="2"):
        main(["bench", str(bundle), "--lanes", "4,x"])
    assert "'4,x' is no list of whole numbers" in capsys.readouterr().err


def test_what_was_measured_before_a_failure_is_shown(
    bundle: Path, board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = runner(tmp_path / "runner") / "dsa_runner"
    fails = 'case "$*" in *"--lanes 8"*) exit 9 ;; esac\nsleep'
    program.write_text(program.read_text().replace("sleep", fails))
    assert listed(bundle, tmp_path, "-o", "json") == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    check(found)
    assert [report["settings"]["lanes"] for report in found["reports"]] == [4]
    assert "exit code 9" in found["failed"]
    assert "exit code 9" in shown.err


def changed(report: dict[str, Any], kind: str, mean: float, sd: float) -> dict[str, Any]:
    results = report["results"]
    return report | {"results": results | {kind: results[kind] | {"mean": mean, "sd": sd}}}


def test_two_results_are_compared(
    bundle: Path, board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = changed(one(bundle, target_of("ssh:board"), session(tmp_path)), "probe", 250, 6)
    second = changed(changed(first, "probe", 259, 8), "prompt", 64.0, 2.0)
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, report in zip(paths, (first, second | {"peak_mb": 199.0}), strict=True):
        path.write_text(json.dumps(report))
    assert main(["bench", "compare", *map(str, paths)]) == 0
    shown = capsys.readouterr().out
    assert "| step, ms | 250.0 ± 6.0 | 259.0 ± 8.0 | 1.036 | within the deviation |" in shown
    assert "| prompt, tokens/s | 128.0 ± 0.0 | 64.0 ± 2.0 | 0.500 | slower |" in shown
    assert "| peak memory, MB | 100 | 199 | 2.000 | measured once |" in shown
    assert "warning" not in shown
    (step,) = (r for r in compare([first], [changed(first, "probe", 261, 8)])["rows"]
               if r["what"] == "step")  # fmt: skip
    assert step["beyond"]  # 11 > √(36 + 64)
    assert step["verdict"] == "slower"
    assert main(["bench", "compare", *map(str, paths), "-o", "csv"]) == 0
    assert "prompt,tokens/s,128.0,0.0,64.0,2.0,0.5,slower" in capsys.readouterr().out


def test_lists_are_compared_by_their_settings(
    bundle: Path, board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(bundle, tmp_path, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    paths = [tmp_path / "all.json", tmp_path / "half.json"]
    paths[0].write_text(json.dumps(found))
    paths[1].write_text(json.dumps(found | {"reports": found["reports"][::-2]}))
    assert main(["bench", "compare", *map(str, paths)]) == 0
    shown = capsys.readouterr().out
    assert "| step, ms (prompt tokens 64) |" in shown
    assert "2 reports have no counterpart in the other file" in shown
    (one_report, *_) = read_results(paths[0])
    other = one_report | {"settings": one_report["settings"] | {"lanes": 32}}
    notes = compare([one_report], [other | {"bundle": {}}])["notes"]
    assert notes == ["the bundles differ", "the settings differ in lanes"]
    with pytest.raises(UsageError, match="no settings are in both files"):
        compare([other], found["reports"])


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda _: "[", "Expecting value"),
        (lambda _: "[" * 100_000, "is no result of a bench"),
        (lambda _: "[]", "its format is not 'dsa-edge bench 1'"),
        (lambda r: json.dumps({"format": "dsa-edge bench list 1", "reports": []}), "no reports"),
        (lambda r: json.dumps(r | {"settings": None}), "lacks 'settings'"),
        (lambda r: json.dumps(r | {"peak_mb": True}), "lacks 'peak_mb'"),
        (lambda r: json.dumps(r | {"results": {}}), "lacks 'prompt' in tokens/s"),
        (lambda r: json.dumps(changed(r, "load", float("nan"), 0)), "mean and sd of 'load'"),
        (lambda r: json.dumps(changed(r, "load", 0, 0)), "mean and sd of 'load'"),
    ],
)
def test_other_files_are_no_results(
    break_it: Callable[[Any], str], why: str, bundle: Path, board: Board, tmp_path: Path
) -> None:
    report = one(bundle, target_of("ssh:board"), session(tmp_path))
    (tmp_path / "odd.json").write_text(break_it(report))
    with pytest.raises(UsageError, match=why):
        read_results(tmp_path / "odd.json")
    with pytest.raises(UsageError, match="give what `dsa-edge bench -o json` wrote"):
        read_results(tmp_path / "none.json")
