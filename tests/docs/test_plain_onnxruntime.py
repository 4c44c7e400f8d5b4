"""The script of docs/onnxruntime.md is as short as it says, and continues as the runtime does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snippets import Page

SAVE, SCRIPT = (fence.text for fence in Page("docs/onnxruntime.md").fences("python"))


def test_it_prints_what_the_runtime_generates(
    place: Path, learned: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    learned()
    names: dict[str, Any] = {}
    exec(SAVE, names)
    capsys.readouterr()
    exec(SCRIPT, {})
    assert capsys.readouterr().out == f"{names['expected']}\n"
    assert names["expected"]


def test_it_has_thirty_lines_and_nothing_of_ours() -> None:
    assert len([line for line in SCRIPT.splitlines() if line]) <= 30
    assert not re.search(r"import dsa_edge|from dsa_edge", SCRIPT)
