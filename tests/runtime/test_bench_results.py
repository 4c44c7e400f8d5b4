"""Results of `dsa-edge bench`: lists of settings, tables, and two files side by side."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import Board, check, one, runner, session

from dsa_edge.cli import main
from dsa_edge.errors import UsageError
from dsa_edge.runtime.bench import compare, read_results, target_of


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    made.install(monkeypatch)
    return made


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
