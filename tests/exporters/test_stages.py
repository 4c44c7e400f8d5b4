"""Whatever fails and whenever: the stage is named, nothing is left over, no bundle is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import DsaEdgeError, ExportError, VerifyError
from dsa_edge.exporters import ExportReport, export

HERE = "dsa_edge.exporters._export"
# stage → what it calls first
STAGES = {
    "checkpoint": f"{HERE}.build_decoder",
    "subspace": f"{HERE}.AdaptedModel.add_blocks",
    "graphs": f"{HERE}.write_graphs",
    "tokenizer": f"{HERE}._write_tokenizer",
    "golden": f"{HERE}._golden",
    "manifest": f"{HERE}.finish",
    "verify": f"{HERE}.verify",
}
Export = Callable[..., ExportReport]


@pytest.fixture
def quick(
    bundle: Path, tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Export:
    """`quick(target, **options)`: the export of `bundle`, with its graphs copied, not traced."""
    methods = Bundle.open(bundle).manifest.methods

    def copy_graphs(_model: Any, folder: Path, _level: int, on_part: Callable[[str], Any]) -> Any:
        on_part("copied")
        shutil.copytree(bundle / "onnx", folder / "onnx")
        return methods

    monkeypatch.setattr(STAGES["graphs"], copy_graphs)

    def run(target: Path, **options: Any) -> ExportReport:
        return export(tiny_checkpoint("llama"), target, accuracy_level=0, **options)

    return run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_report_says_what_was_made(quick: Export, tmp_path: Path) -> None:
    told: list[str] = []
    report = quick(tmp_path / "a" / "b.dsa", on_stage=told.append)
    assert report.bundle == tmp_path / "a" / "b.dsa"
    assert report.bytes == sum(len(raw) for raw in snapshot(report.bundle).values())
    assert list(report.stages) == list(STAGES)
    assert report.chats  # the runner without Python can render them
    assert [stage for stage in told if ":" not in stage] == list(STAGES)
    assert "graphs: copied" in told
    assert "verify: golden" in told
    assert report.adapter_size == Bundle.open(report.bundle).manifest.adapter_size
    assert 0 < sum(report.stages.values()) <= report.seconds
    assert len(report.checks) == 8
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.dsa"]


def test_unchecked_exports_say_so(quick: Export, tmp_path: Path) -> None:
    report = quick(tmp_path / "b.dsa", check=False)
    assert report.checks == ()
    assert "verify" not in report.stages


FAILURES = {
    "a full disk": (OSError(28, "No space left on device"), "No space left.*free some disk"),
    "too little memory": (MemoryError(), "out of memory.*close other programs"),
    "a bug": (RuntimeError("first line\nthe reason"), "RuntimeError: the reason.*report"),
    "a bug without words": (KeyError(), "KeyError: no message.*report"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_names_its_stage_and_keeps_the_old_bundle(
    quick: Export, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    stage: str, failure: str,
) -> None:  # fmt: skip
    error, words = FAILURES[failure]

    def fail(*_: object, **__: object) -> None:
        raise error

    old = Path(shutil.copytree(bundle, tmp_path / "old.dsa"))
    before = snapshot(old)
    monkeypatch.setattr(STAGES[stage], fail)
    for target, overwrite in ((tmp_path / "new.dsa", False), (old, True)):
        with pytest.raises(ExportError, match=f"stage '{stage}'") as caught:
            quick(target, overwrite=overwrite)
        assert caught.match(words)
    assert [p.name for p in tmp_path.iterdir()] == ["old.dsa"]
    assert snapshot(old) == before


@pytest.mark.parametrize("stage", ["subspace", "graphs", "verify"])
def test_an_interrupted_export_leaves_nothing(
    quick: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(STAGES[stage], interrupt)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "new.dsa")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_verify_is_not_put_in_place(
    quick: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_edge.exporters._verify.NATS", 1e-9)
    with pytest.raises(VerifyError, match="stage 'probe'"):
        quick(tmp_path / "new.dsa")
    assert list(tmp_path.iterdir()) == []


def test_replacing_takes_the_new_bundle_and_leaves_no_trace_of_the_old(
    quick: Export, bundle: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(bundle, tmp_path / "old.dsa"))
    (old / "notes.txt").write_text("of the old one")
    quick(old, overwrite=True)
    assert not (old / "notes.txt").exists()
    assert Bundle.open(old).identity == Bundle.open(bundle).identity
    assert [p.name for p in tmp_path.iterdir()] == ["old.dsa"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_bundle_that_cannot_be_moved_into_place_gives_the_old_one_back(
    quick: Export, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The first rename moves the old bundle aside, the second the new one into its place."""
    old = Path(shutil.copytree(bundle, tmp_path / "old.dsa"))
    before = snapshot(old)
    real, calls = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        if self.parent == tmp_path and not self.name.endswith(".old"):
            calls.append(self)
            if len(calls) == failing:
                raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ExportError, match=r"cannot be put at .*Permission denied.*untouched"):
        quick(old, overwrite=True, check=False)
    assert snapshot(old) == before
    assert [p.name for p in tmp_path.iterdir()] == ["old.dsa"]


@pytest.mark.parametrize("target", ["/proc/none/x.dsa", "FILE/x.dsa", "x" * 245])
def test_a_place_that_cannot_be_written_is_one_sentence(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], target: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("x")
    code = main(["export", str(tiny_checkpoint("llama")), target])
    captured = capsys.readouterr()
    assert code == 1
    assert captured.err.startswith("dsa-edge export: ")
    assert captured.err.count("\n") == 1
    assert os.listdir() == ["FILE"]


def test_a_file_is_not_replaced_by_a_bundle(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DsaEdgeError, match="not a bundle, so it will not be replaced"):
        export(tiny_checkpoint("llama"), tmp_path / "thesis.txt", overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "x"
