"""`dsa-edge tune`: what it prints, writes, and leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stores import Run

from dsa_edge.bundle import Bundle

LABELLED = ["--template", "{text} It was", "--labels", "terrible,great"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    rows = [{"text": f"{i} a {['dull', 'warm'][i % 2]} film", "label": i % 2} for i in range(96)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_search_writes_what_wins_and_fits_take_it(
    run: Run, bundle_copy: Path, data: Path, tmp_path: Path
) -> None:
    given = ["--data", data, *LABELLED]
    search = ["tune", bundle_copy, *given, "--trials", 3, "--steps", 12, "--json"]
    before = (bundle_copy / "manifest.json").read_bytes()
    code, out, err = run(*search, "--dry-run", "--study", tmp_path / "tune.db")
    assert code == 0, err
    assert json.loads(out)["written"] is False
    assert (bundle_copy / "manifest.json").read_bytes() == before
    code, out, err = run(*search, "--study", tmp_path / "tune.db")
    assert code == 0, err
    told = json.loads(out)
    assert told["written"] == told["better"]
    found = Bundle.open(bundle_copy).manifest.defaults
    assert bool(found) == told["better"]
    code, out, err = run(
        "personalize", bundle_copy, "--store", tmp_path / "me", *given, "--steps", 2, "--json"
    )
    assert code == 0, err
    used = json.loads(out)
    if told["better"]:
        assert used["hyperparameters"]["batch"] == found["choices"].batch
        assert used["hyperparameters"]["queries"] == found["choices"].queries
    assert run("tune", bundle_copy, *given, "--trials", 2, "--steps", 4)[0] == 0


def test_a_curve_is_measured_drawn_and_planned_with(
    run: Run, bundle_copy: Path, data: Path, tmp_path: Path
) -> None:
    given = ["--data", data, *LABELLED]
    plot = tmp_path / "curve.html"
    code, out, err = run(
        "tune", bundle_copy, *given, "--curve", "--seeds", 1, "--steps", 3, "--plot", plot
    )
    assert code == 0, err
    assert "32 examples" in out
    assert "too early to tell" in out
    assert "<svg" in plot.read_text()
    assert len(Bundle.open(bundle_copy).manifest.defaults["choices"].curve) == 2
    code, out, err = run("plan", bundle_copy, *given)
    assert code == 0, err
    assert "by the bundle's learning curve" in out


def test_wrong_use_is_one_sentence(run: Run, bundle_copy: Path, data: Path) -> None:
    given = ["tune", bundle_copy, "--data", data, *LABELLED]
    assert run(*given, "--plot", "x.html")[0] == 2
    code, _, err = run(*given, "--trials", 1)
    assert code == 2
    assert "at least 2 trials" in err
