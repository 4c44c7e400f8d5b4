"""`personalize` under conditions, with replay, and with a privacy guarantee."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores import LABELLED, Run, Told, write

WORDS = ["dull", "grand", "slow", "warm", "flat", "bright", "thin", "deep"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"text": f"{i} {WORDS[i % 8]}", "label": ("terrible", "great")[i % 2]} for i in range(160)
    ]
    return write(tmp_path / "rows.jsonl", *rows)


def test_a_private_fit_tells_what_it_spent_and_history_keeps_it(
    told: Told, run: Run, bundle: Path, store: Path, data: Path
) -> None:
    pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")
    given = ["--data", data, *LABELLED, "--steps", 3]
    report = told("personalize", *given, "--privacy", "8,1e-4")
    assert report["privacy"]["epsilon"] <= 8
    assert [event["loss"] for event in report["curve"]] == [None] * 3
    (fit,) = told("history")["fits"]
    assert fit["privacy"] == report["privacy"]
    assert "epsilon 8.00 spent" in run("history", bundle, "--store", store)[1]
    code, _, err = run("personalize", bundle, "--store", store, *given, "--privacy", "8,1e-4")
    assert code == 1
    assert "already spent 8.00" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--privacy", "lots"], "expected as 8 or 8,1e-5"),
        (["--privacy", "8,1e-5,64"], "expected as 8 or 8,1e-5"),
        (["--privacy", "8,2"], "expected 0 < delta < 1"),
        (["--privacy", "-1"], "epsilon is -1.0, expected a number more than 0"),
        (["--when", "sunny"], "expected charging, battery=50"),
        (["--when", "battery"], "'battery', expected charging, battery=50"),
        (["--when", "battery=full"], "expected charging, battery=50"),
        (["--when", "charging=3"], "expected charging, battery=50"),
        (["--when", "battery=150"], "battery is 150.0, expected a number from 0 to 100"),
        (["--replay", "-2"], "replay is -2"),
        (["--disk-mb", "0"], "budget disk_mb is 0.0"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    run: Run, bundle: Path, store: Path, data: Path, given: list[str], message: str
) -> None:
    code, _, err = run("personalize", bundle, "--store", store, "--data", data, *LABELLED, *given)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_remembered_examples_come_back_with_replay(told: Told, tmp_path: Path, data: Path) -> None:
    told("personalize", "--data", data, *LABELLED, "--steps", 2, "--remember")
    later = write(tmp_path / "later.jsonl", {"text": "new", "label": "great"},
                  {"text": "old", "label": "terrible"})  # fmt: skip
    report = told("personalize", "--data", later, *LABELLED, "--steps", 2, "--replay", 30)
    assert report["examples"] == 32
    assert told("history")["fits"][-1]["examples"] == 32
