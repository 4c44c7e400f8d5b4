"""Gates on the command line: export, personalize, inspect, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stores import Run

from dsa_edge.cli._common import routes_rows
from dsa_edge.runtime import Personalizer


def test_blocks_from_export_to_report(
    run: Run, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle, data = tmp_path / "gated.dsa", tmp_path / "rows.jsonl"
    small = ("--targets", "q,v", "--rank", 4, "--no-verify", "--accuracy-level", 0)
    code, out, err = run(
        "export", tiny_checkpoint("llama"), bundle, "--blocks", 3, "--active", 2, *small
    )
    assert code == 0, err
    assert "192 numbers" in out  # 2 layers, 2 targets, 3 blocks of 4 × 4
    code, out, _ = run("inspect", bundle, "--slots")
    assert "3 a target, of which 2 serve a prompt; gate of 0.8 kB" in out
    assert "layers.1.q.2" in out
    assert "route_index (B, J)" in out
    rows = [
        {"text": f"{text} {i}", "label": label}
        for i in range(8)
        for text, label in (("a warm film", "b"), ("it rained all night", "a"))
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    labelled = ("--data", data, "--template", "{text} So:", "--labels", "a,b")
    fit = ("personalize", bundle, "--store", tmp_path / "me", *labelled, "--steps", 3)
    code, out, err = run(*fit, "--json", "--report", tmp_path / "me.html")
    assert code == 0, err
    served = json.loads(out)["routes"]
    assert sum(served) == 2 * 16
    page = (tmp_path / "me.html").read_text()
    assert f"block 0: {served[0]}, block 1: {served[1]}" in page
    shown = ", ".join(map(str, json.loads(out)["served_examples"][0]))
    assert f">{shown}</td></tr>" in page
    assert "Prompts that each block served" in page
    assert "Entropy of the mean route: " in page
    code, out, err = run(*fit, "--json", "--gate", "learned", "--set", "draws=2")
    assert code == 0, err
    assert json.loads(out)["hyperparameters"]["draws"] == 2
    with Personalizer.open(bundle, tmp_path / "me") as me:
        (learned,) = me.replay([3])
        assert learned.gate is not None
        me.use_adapter(replace(learned, gate=replace(learned.gate, served=(9, 16, 7))))
        me.save_adapter(tmp_path / "me.safetensors")
    code, out, err = run("inspect", bundle, "--store", tmp_path / "me")
    assert (code, "block 0: 9, block 1: 16, block 2: 7" in out) == (0, True), err
    assert run("inspect", bundle, "--store", tmp_path / "nobody")[0] == 2
    assert not (tmp_path / "nobody").exists()
    code, out, _ = run("inspect", tmp_path / "me.safetensors")
    assert code == 0
    assert "[3, 64]" in out
    code, _, err = run("inspect", tmp_path / "me.safetensors", "--store", tmp_path / "me")
    assert (code, "is a file, expected a bundle" in err) == (2, True)
    code, _, err = run("export-adapter", bundle, tmp_path / "peft", "--store", tmp_path / "me")
    assert code == 1
    assert "has 3 blocks that a gate chooses from for each prompt, expected one block" in err


def test_how_evenly_blocks_serve_is_told_with_their_counts() -> None:
    assert routes_rows(()) == []
    rows = dict(routes_rows((30, 30, 0)))
    assert rows["prompts served"] == "block 0: 30, block 1: 30, block 2: 0"
    assert str(rows["entropy of routes"]).startswith("0.63 (1: blocks serve alike")
    assert str(dict(routes_rows((7, 0)))["entropy of routes"]).startswith("0.00 ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--blocks", 2, "--active", 3), "3 of 2 blocks are active, expected"),
        (("--blocks", 0), "1 of 0 blocks are active, expected"),
        (("--blocks", 4, "--adapter", "lora"), "blocks is 4 for lora, expected 1"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(
    run: Run, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    code, _, err = run("export", tmp_path / "none", tmp_path / "x.dsa", *options)
    assert code == 2
    assert words in err
