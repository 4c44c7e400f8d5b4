"""The demo, on a tiny model and made-up sentences: what it leaves for the user to look at."""

from __future__ import annotations

import json
import random
from pathlib import Path

import browsers
import pytest
from stores import Run

from dsa_edge.cli import _demo
from dsa_edge.examples import Labels

Rows = list[tuple[str, object]]
WORDS = ["a", "warm", "dull", "quiet", "film", "about", "two", "towns", "and", "one", "river"]
SHORT = Labels("{text} It was", ("terrible", "great"))  # four of these fit the tiny base


def sentences(train: int, test: int, seed: int = 0) -> tuple[Rows, Rows]:
    """As `review_sentences`: rows of a text and a label."""
    random_ = random.Random(seed)
    rows: Rows = [(" ".join(random_.sample(WORDS, 2)), i % 2) for i in range(train + test)]
    return rows[:train], rows[train:]


@pytest.fixture
def folder(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_demo, "demo_bundle", lambda *_: bundle)
    monkeypatch.setattr(_demo, "review_sentences", sentences)
    monkeypatch.setattr(_demo, "LABELS", SHORT)
    return tmp_path / "demo"


def test_the_demo_leaves_a_report_and_its_plots_and_says_where(run: Run, folder: Path) -> None:
    argv = "demo", "--folder", folder, "--steps", 4, "--train", 40, "--test", 12
    code, out, err = run(*argv)
    assert code == 0, err
    page = folder / "report.html"
    assert page.resolve().as_uri() in out  # a terminal opens it with a click
    assert str(folder / "plots") in out
    text = page.read_text("utf-8")
    for heading in ("Learning curve", "Before and after", "Settings"):
        assert f"<h2>{heading}</h2>" in text
    plots = {path.stem for path in (folder / "plots").glob("*.svg")}
    assert plots == {"loss", "accuracy", "memory"}  # one block: nothing to tell of blocks
    browser = browsers.find()
    if browser is None:
        pytest.skip("no Chromium or Chrome is installed")
    told = browsers.measured(browser, page, 360, folder)
    assert (told["plots"], told["requests"]) == (3, 0)
    assert told["needs"] <= 360  # pixels: a phone shows it whole


def test_the_demo_in_json_names_its_files(run: Run, folder: Path) -> None:
    argv = "demo", "--folder", folder, "--steps", 4, "--train", 40, "--test", 12, "--json"
    code, out, err = run(*argv)
    assert code == 0, err
    told = json.loads(out)
    assert {told["report"], *told["plots"]} <= {str(path) for path in folder.rglob("*")}
    assert told["held_out_sentences"] == 12
