"""The verbs: what they print, write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign import Q, tensors

from dsa_edge.adapter import Adapter, load_adapter, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.cli import main

Run = Callable[..., tuple[int, str, str]]
Learned = Callable[[Bundle], Adapter]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main([str(a) for a in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def file(lora: Bundle, learned: Learned, tmp_path: Path) -> Path:
    """An adapter file."""
    path = tmp_path / "me.safetensors"
    save_adapter(path, learned(lora), lora.identity, lora.manifest.adapter)
    return path


def test_a_lora_is_imported_with_its_mapping(
    run: Run, lora: Bundle, peft_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = peft_folder(tensors(), {"lora_alpha": 16}), tmp_path / "out.safetensors"
    store = tmp_path / "me"
    code, text, err = run("import-adapter", lora.path, folder, "--out", out, "--store", store)
    assert code == 0, err
    assert f"{Q}.lora_B.weight  → layers.1.q.b times 8" in text
    assert "version 1 of" in text
    assert "note: a LoRA of PEFT" in text
    made = load_adapter(out, lora.identity, lora.manifest.adapter_size)
    assert made.vector.any()
    code, text, _ = run("history", lora.path, "--store", store, "--json")
    assert json.loads(text)["active"] == 1
    code, text, _ = run("import-adapter", lora.path, folder, "--out", out, "--json")
    assert json.loads(text)["mapping"][1]["factor"] == 8.0


def test_what_is_in_a_store_goes_out_and_in_again(
    run: Run, lora: Bundle, file: Path, tmp_path: Path
) -> None:
    folder, back = tmp_path / "peft", tmp_path / "back.safetensors"
    assert run("export-adapter", lora.path, folder, "--adapter", file)[0] == 0
    assert run("import-adapter", lora.path, folder, "--store", tmp_path / "me")[0] == 0
    second = tmp_path / "second"
    code, text, _ = run("export-adapter", lora.path, second, "--store", tmp_path / "me", "--json")
    assert code == 0
    assert json.loads(text)["linears"] == 14
    assert run("import-adapter", lora.path, second, "--out", back)[0] == 0
    size = lora.manifest.adapter_size
    both = [load_adapter(path, lora.identity, size).vector.tobytes() for path in (file, back)]
    assert both[0] == both[1]


def test_a_merge_needs_force(run: Run, lora: Bundle, file: Path, tmp_path: Path) -> None:
    code, _, err = run("merge", lora.path, tmp_path / "merged", "--adapter", file)
    assert code == 1
    assert "of what was learned" in err
    assert "--force" in err
    code, text, _ = run("merge", lora.path, tmp_path / "merged", "--adapter", file, "--force")
    assert code == 0
    assert "would be lost" in text
    assert (tmp_path / "merged" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["import-adapter"], 2, "neither --out nor --store"),
        (["export-adapter"], 2, "--adapter or --store"),
        (["export-adapter", "--adapter", "a", "--store", "b"], 2, "got both or neither"),
        (["merge", "--store", "nowhere"], 1, "no store in nowhere"),
        (["merge", "--adapter", "nowhere"], 1, "no adapter file nowhere"),
    ],
)
def test_wrong_use_is_one_sentence(
    run: Run, lora: Bundle, tmp_path: Path, argv: list[str], code: int, words: str
) -> None:
    verb, *rest = argv
    got, _, err = run(verb, lora.path, tmp_path / "folder", *rest)
    assert got == code
    assert words in err
    assert not (tmp_path / "folder").exists()


def test_devices_need_no_torch_for_it() -> None:
    program = "import sys, dsa_edge.runtime.interchange; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
