"""The gates benchmark: what is there is not run again, and what a row says is a mean over seeds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gates
import pytest


def call(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["gates.py", *options.split()])
    gates.main()


def test_rows_are_kept_by_what_was_asked_and_told_as_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int, str]] = []

    def run(name: str, seed: int, arguments: Any) -> dict[str, Any]:
        asked.append((name, seed, arguments.engine))
        return {"accuracy": {"reviews": 0.5 + 0.1 * seed, "news": 0.7}, "purity": None}

    monkeypatch.setattr(gates, "run", run)
    options = f"--out {tmp_path} --tasks reviews,news --only random --seeds"
    call(monkeypatch, f"{options} 0,1 --json")
    assert [row["seed"] for row in json.loads(capsys.readouterr().out)["rows"]] == [0, 1]
    call(monkeypatch, f"{options} 1,2")
    assert asked == [("random", 0, "onnx"), ("random", 1, "onnx"), ("random", 2, "onnx")]
    assert "0.650    0.700    0.675  (0.650–0.700)" in capsys.readouterr().out
    call(monkeypatch, f"{options} 1 --engine cpu")
    with pytest.raises(SystemExit):
        call(monkeypatch, f"{options} 1 --only k-means,randon")
    assert "'randon', expected some of one block,k-means,learned" in capsys.readouterr().err
    assert asked[3:] == [("random", 1, "cpu")]  # what another engine found is not taken for it
