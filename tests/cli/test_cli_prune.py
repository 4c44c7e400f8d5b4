"""`export --prune`: options that belong together, mistakes in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import Run

from dsa_edge.exporters import ExportReport, Pruning
from dsa_edge.pruned import Pruned

LABELLED = ("--template", "{text} So: ", "--labels", "e,h")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    texts = [{"text": f"letter {i}", "label": "eh"[i % 2]} for i in range(8)]
    file.write_text("\n".join(json.dumps(row) for row in texts))
    return file


def test_options_make_one_choice_and_the_table_tells_what_went(
    run: Run, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Pruning] = []

    def export(_checkpoint: str, bundle: str, pruning: Pruning, **_: Any) -> ExportReport:
        given.append(pruning)
        kept = ((0,),) * 3, ((0, 2),) * 3
        return ExportReport(
            Path(bundle), 1, 1, 1.0, pruned=Pruned(0.4, "learned", 2, 96, *kept, ("q", "v", "k"))
        )

    monkeypatch.setattr("dsa_edge.exporters._export.export", export)
    code, out, err = run(
        "export", "model", tmp_path / "x.dsa", "--prune", 0.4, "--prune-on", rows,
        "--prune-steps", 7, "--prune-ranks", 0.5, *LABELLED,
    )  # fmt: skip
    assert code == 0, err
    (pruning,) = given
    assert (pruning.share, pruning.steps, pruning.ranks, pruning.modules) == (0.4, 7, 0.5, 0.0)
    assert pruning.labels is not None
    assert pruning.labels.names == ("e", "h")
    assert "40.0% of the layers' weights, by learned" in out
    assert "of q v k before" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--prune", 0.25), "--prune SHARE and --prune-on FILE"),
        (("--prune-on", "rows.jsonl"), "--prune SHARE and --prune-on FILE"),
        (("--prune-steps", 9), "--prune SHARE and --prune-on FILE"),
        (("--prune", 1.2, "--prune-on", "rows.jsonl"), "share to prune is 1.2"),
        (("--prune", 0.9, "--prune-on", "rows.jsonl"), "at most 60.0%"),
        (("--prune", 0.2, "--prune-on", "x", "--labels", "a,b"), "belong together"),
    ],
)
def test_wrong_use_is_one_sentence_and_leaves_nothing(
    run: Run,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    options: tuple[object, ...],
    words: str,
) -> None:
    code, _, err = run("export", tiny_checkpoint("llama"), tmp_path / "x.dsa", *options)
    assert code == 2
    assert words in err
    assert err.splitlines()[-1].startswith("dsa-edge export: ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_one_sentence(
    run: Run, tiny_checkpoint: Callable[[str], Path], rows: Path, tmp_path: Path
) -> None:
    start = "export", tiny_checkpoint("llama"), tmp_path / "x.dsa", "--prune", 0.3, "--prune-on"
    code, _, err = run(*start, tmp_path / "none.jsonl")
    assert (code, "no file" in err) == (1, True)
    code, _, err = run(*start, rows)
    assert (code, "--template" in err) == (1, True)
    assert not (tmp_path / "x.dsa").exists()
