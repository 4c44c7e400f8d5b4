"""A learned start on the command line: meta-train, its record and its mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starts import put_start
from stores import Run

from dsa_edge.cli._meta_train import _parser, _settings
from dsa_edge.exporters.training.meta import MetaSettings

QUICK = ("--rounds", 2, "--users-per-round", 2, "--inner-steps", 2, "--batch", 4, "--query", 4)
SMALL = ("--adapt-steps", 2, "--snapshots", 1, "--rank", 4, "--targets", "q,v")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rows = [
        {"user": f"user{u}", "text": f"film {u} {i}", "label": i % 2}
        for u in range(4)
        for i in range(8)
    ]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "people.jsonl"


def test_a_gate_of_prompts_that_are_all_the_same_is_told(
    run: Run, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    out, users = tmp_path / "start.safetensors", tmp_path / "people.jsonl"
    rows = [
        {"user": f"user{u}", "prompt": "say", "response": f" {u} {i}"}
        for u in range(3)
        for i in range(8)
    ]
    users.write_text("\n".join(map(json.dumps, rows)))
    command = ("meta-train", tiny_checkpoint("llama"), "--users", users, "--out", out)
    code, told, err = run(*command, *QUICK, *SMALL, "--blocks", 2, "--unseen", "user0")
    assert code == 0, err
    assert "block 0 serves 16 of 16 prompts, so the gate has little to choose" in told
    assert "block 1 serves none" in str(json.loads(out.with_name("start.run.json").read_text()))


def test_a_start_from_labelled_texts(
    run: Run, tiny_checkpoint: Callable[[str], Path], people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "start.safetensors"
    labelled = ("--template", "{text} So:", "--labels", "a,b", "--unseen", "user0")
    command = ("meta-train", tiny_checkpoint("llama"), "--users", people, "--out", out)
    code, told, err = run(*command, *labelled, *QUICK, *SMALL, "--json")
    assert code == 0, err
    report = json.loads(told)
    assert (report["seen"], report["unseen"], report["directions"]) == (3, 1, 3)
    assert len(report["rounds"]) == 2
    code, told, _ = run("inspect", out)
    assert code == 0
    assert "dsa-edge start 1" in told
    assert (tmp_path / "start.run.json").exists()


def test_a_start_of_several_blocks(
    run: Run, tiny_checkpoint: Callable[[str], Path], people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "start.safetensors"
    labelled = ("--template", "{text} So:", "--labels", "a,b", "--unseen", "user0")
    command = ("meta-train", tiny_checkpoint("llama"), "--users", people, "--out", out)
    gated = ("--blocks", 3, "--active", 2, "--gate", "learned")
    code, told, err = run(*command, *labelled, *QUICK, *SMALL, *gated)
    assert code == 0, err
    assert "blocks serve" in told
    code, told, _ = run("inspect", out, "--json")
    assert sum(json.loads(told)["served"]) == 2 * 24  # two of each prompt of three users
    bundle, spec = tmp_path / "gated.dsa", (*SMALL[4:], *gated[:4], "--no-verify")
    code, _, err = run("export", tiny_checkpoint("llama"), bundle, *spec, "--start", out)
    assert code == 0, err
    served = json.loads(told)["served"]
    assert f"block 0: {served[0]}, block 1: {served[1]}" in run("inspect", bundle)[1]


def test_the_command_line_has_the_defaults_of_python() -> None:
    given = _parser().parse_args(["base", "--users", "people", "--out", "start.safetensors"])
    assert _settings(given) == MetaSettings()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--unseen", "nobody"), 2, "no user nobody"),
        (("--gate", "learned"), 2, "expected several to choose from: add --blocks N"),
        (("--gate", "learned", "--blocks", 2, "--active", 2), 2, "all 2 blocks of a target serve"),
        (("--gate", "scratch"), 2, "expected clusters or learned"),
        (("--method", "maml"), 2, "expected reptile or fomaml"),
        (("--batch", 6, "--query", 6), 1, "4 of 4 users have fewer than the 12 examples"),
    ],
)
def test_mistakes(
    run: Run, tiny_checkpoint: Callable[[str], Path], people: Path, tmp_path: Path,
    options: tuple[object, ...], code: int, words: str,
) -> None:  # fmt: skip
    out = tmp_path / "start.safetensors"
    labelled = ("--template", "{text} So:", "--labels", "a,b", "--unseen", "user0")
    command = ("meta-train", tiny_checkpoint("llama"), "--users", people, "--out", out)
    found, _, err = run(*command, *labelled, *QUICK, *options)
    assert (found, words in err) == (code, True), err
    assert not out.exists()


def test_personalize_along_directions(run: Run, bundle_copy: Path, tmp_path: Path) -> None:
    start = put_start(bundle_copy)
    data = tmp_path / "notes.jsonl"
    rows = [{"prompt": f"say {i}", "response": f" rain {i} and rain"} for i in range(16)]
    data.write_text("\n".join(map(json.dumps, rows)))
    code, told, _ = run("inspect", bundle_copy)
    assert f"{start.id[:16]}, of 5 users, 6 directions" in told
    fit = ("personalize", bundle_copy, "--store", tmp_path / "me", "--data", data, "--steps", 2)
    code, told, err = run(*fit, "--subspace", 6, "--json")
    assert code == 0, err
    hyper = json.loads(told)["hyperparameters"]
    assert (hyper["along"], hyper["estimator"]) == (6, "axes")
    code, _, err = run(*fit, "--subspace", 7)
    assert code == 2
    assert "7 directions were asked for, and this bundle has 6" in err
