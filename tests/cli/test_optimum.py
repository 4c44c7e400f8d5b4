"""`optimum-cli export dsa-edge`, and a bundle as one of Optimum's models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dsa_edge import exporters
from dsa_edge.errors import BundleError, CheckpointError, UsageError
from dsa_edge.optimum import DsaEdgeModelForCausalLM
from dsa_edge.optimum._hub import local_folder
from dsa_edge.runtime import Personalizer

Call = Callable[..., tuple[int, str, str]]


def test_the_command_is_listed_and_has_all_options_of_the_verb(optimum_cli: Call) -> None:
    code, out, _ = optimum_cli("export", "--help")
    assert code == 0
    assert "dsa-edge" in out
    code, out, _ = optimum_cli("export", "dsa-edge", "--help")
    assert code == 0
    assert all(option in out for option in ("--model", "--quantize", "--adapter", "--prune-on"))


def test_it_exports_what_it_is_told_to(
    optimum_cli: Call, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def export(checkpoint: Path, bundle: str, **options: Any) -> exporters.ExportReport:
        asked.append((checkpoint, bundle, options["quantize"], options["adapter"].rank))
        return exporters.ExportReport(Path(bundle), 1, 1, 0.1)

    monkeypatch.setattr(exporters, "export", export, raising=False)
    words = ["-m", tiny_folder, tmp_path / "new.dsa", "--quantize", "int8", "--rank", 4, "--json"]
    code, out, err = optimum_cli("export", "dsa-edge", *words)
    assert code == 0, err
    assert asked == [(tiny_folder, str(tmp_path / "new.dsa"), "int8", 4)]
    assert json.loads(out)["bundle"] == str(tmp_path / "new.dsa")


def test_errors_are_one_sentence_and_an_exit_code(
    optimum_cli: Call, tiny_folder: Path, tmp_path: Path
) -> None:
    code, _, err = optimum_cli("export", "dsa-edge", "-m", tiny_folder, tmp_path)
    assert code == 2
    assert "exists: choose another name" in err
    assert "Traceback" not in err


def test_a_name_is_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert "*.safetensors" in allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert local_folder("someone/model") == tmp_path
    assert local_folder(tmp_path) == tmp_path
    assert asked == ["someone/model"]


def test_a_name_that_the_hub_does_not_give_is_our_error() -> None:
    with pytest.raises(CheckpointError, match="no path here, and cannot be had"):
        local_folder("nobody/nothing")  # HF_HUB_OFFLINE is set


def test_the_model_continues_as_the_personalizer_does(bundle: Path, tmp_path: Path) -> None:
    store = tmp_path / "me"
    with DsaEdgeModelForCausalLM.from_pretrained(bundle, store=store) as model:
        inputs = model.tokenizer("The rain", return_tensors="pt", add_special_tokens=False)
        found = model.generate(inputs["input_ids"], inputs["attention_mask"], max_new_tokens=6)
        assert found.dtype == torch.int64
        count = inputs["input_ids"].shape[1]
        assert torch.equal(found[:, :count], inputs["input_ids"])
        text = model.tokenizer.decode(found[0, count:])
        sampled = [
            model.generate(inputs["input_ids"], do_sample=True, seed=seed).tolist()
            for seed in (1, 2)
        ]
        assert sampled[0] != sampled[1]
    with Personalizer.open(bundle, store=store) as me:
        assert me.generate("The rain", max_tokens=6) == text


def test_what_was_learned_is_used(bundle: Path) -> None:
    with DsaEdgeModelForCausalLM.from_pretrained(bundle) as model:
        ids = model.tokenizer("The rain", return_tensors="pt")["input_ids"]
        before = model.generate(ids, max_new_tokens=8)
        adapter = model.personalizer.adapter
        adapter.vector[:] = 3.0
        model.personalizer.use_adapter(adapter)
        assert not torch.equal(before, model.generate(ids, max_new_tokens=8))


def test_saving_copies_the_bundle(bundle: Path, tmp_path: Path) -> None:
    with DsaEdgeModelForCausalLM.from_pretrained(bundle, store=tmp_path / "me") as model:
        model.save_pretrained(tmp_path / "saved.dsa")
        with pytest.raises(UsageError, match="exists"):
            model.save_pretrained(tmp_path / "saved.dsa")
    names = {str(file.relative_to(bundle)) for file in bundle.rglob("*") if file.is_file()}
    saved = tmp_path / "saved.dsa"
    assert {str(file.relative_to(saved)) for file in saved.rglob("*") if file.is_file()} == names


def test_wrong_use_is_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        DsaEdgeModelForCausalLM.from_pretrained(tmp_path)
    with DsaEdgeModelForCausalLM.from_pretrained(bundle) as model:
        with pytest.raises(UsageError, match=r"\(1, P\)"):
            model.generate(torch.zeros((2, 3), dtype=torch.int64))
        with pytest.raises(UsageError, match="at least 1"):
            model.generate(torch.ones((1, 3), dtype=torch.int64), max_new_tokens=0)
