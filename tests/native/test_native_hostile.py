"""What the native runner does with bundles, adapters and examples that are not right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from native_runner import Library, Runner, RunnerError

from dsa_edge.manifest import checksum_of

pytest.importorskip("executorch", reason="ExecuTorch is not installed")

Bundles = Callable[[str], Path]


@pytest.fixture
def spoiled(bundles: Bundles, tmp_path: Path) -> Path:
    """A copy of a bundle, free to be spoiled."""
    return Path(shutil.copytree(bundles("llama"), tmp_path / "copy.dsa"))


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as someone would who knows its checksum."""
    file = bundle / "manifest.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    content["checksum"] = checksum_of(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def refused(library: Library, bundle: Path, *words: str) -> str:
    """What it says, in one line, when it refuses to open a bundle."""
    error = str(library.run("info", bundle, *words, code=1)["error"])
    assert error.startswith("dsa_runner: ")
    assert error.count("\n") == 0
    assert error.endswith(".")
    return error


def test_bundles_of_other_kinds_say_what_to_do(library: Library, spoiled: Path) -> None:
    rewrite(spoiled, lambda content: content.update(schema=99))
    assert "schema version 99" in refused(library, spoiled)
    rewrite(spoiled, lambda content: content.update(schema=2, executorch=None))
    assert "has no ExecuTorch programs" in refused(library, spoiled)
    assert "no bundle at" in refused(library, spoiled / "nowhere")
    (spoiled / "manifest.json").unlink()
    assert "is not a bundle" in refused(library, spoiled)


def test_a_missing_operator_is_named(library: Library, spoiled: Path) -> None:
    def want(content: dict[str, Any]) -> None:
        content["executorch"]["operators"].append("other::op.out")

    rewrite(spoiled, want)
    assert "lacks other::op.out" in refused(library, spoiled)
    found = library.run("info", spoiled, code=1)["error"]
    assert "export the bundle" in found


def test_damage_is_told_by_hash_and_by_size(library: Library, spoiled: Path) -> None:
    file = spoiled / "executorch" / "head.ptd"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "was changed after the export" in refused(library, spoiled)
    file.write_bytes(content[:-1])
    assert "its manifest says" in refused(library, spoiled, "--skip-hashes")
    file.unlink()
    assert "lacks its file executorch/head.ptd" in refused(library, spoiled)


def test_a_program_that_is_none_is_refused_at_use(library: Library, spoiled: Path) -> None:
    file = spoiled / "executorch" / "layer_form_0.pte"
    file.write_bytes(bytes(file.stat().st_size))
    words = "--skip-hashes", "--prompt", "a film", "--choices", " a, l"
    error = library.run("choose", spoiled, *words, code=1)["error"]
    assert "cannot load" in error
    assert "export the bundle again" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_told(library: Library, spoiled: Path) -> None:
    (spoiled / "manifest.json").chmod(0)
    assert "Permission denied" in refused(library, spoiled)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_paths_cannot_leave_the_bundle(library: Library, spoiled: Path, path: str) -> None:
    rewrite(spoiled, lambda content: content["executorch"].update(ends=path))
    assert "leaves the bundle" in refused(library, spoiled)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["decoder"].update(n_layers=0),
        lambda content: content["decoder"].update(width=2**40),
        lambda content: content["decoder"].update(head_dim=1.5),
        lambda content: content["executorch"].update(rows=-1),
        lambda content: content["executorch"]["layers"].pop(),
        lambda content: content["executorch"]["head_table"].update(offset=2**39),
        lambda content: content["executorch"]["embedding"].update(rows=2**30),
        lambda content: content["slots"].pop(),
        lambda content: content["slots"][0].__setitem__(1, 7),
        lambda content: content["adapter"].update(targets=["nope"]),
        lambda content: content.pop("golden"),
        lambda content: content.update(files=[]),
        lambda content: content.update(chat=[]),
        lambda content: content["chat"].update(turns=[1]),
        lambda content: content["chat"]["turns"][0].update(trim="all"),
        lambda content: content["chat"]["turns"][0].update(before=None),
        lambda content: content["chat"].update(ends={"user": 1}),
        lambda content: content["chat"].update(without=[""]),
    ],
)
def test_manifests_that_lie_are_refused(
    library: Library, spoiled: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite(spoiled, change)
    refused(library, spoiled)


def test_an_edited_manifest_is_refused(library: Library, spoiled: Path) -> None:
    file = spoiled / "manifest.json"
    file.write_text(file.read_text(encoding="utf-8").replace("llama", "lamma"), encoding="utf-8")
    assert "checksum" in refused(library, spoiled)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not a JSON object"),
        ('{"prompt": "a"}', "other keys"),
        ('{"prompt": "a", "response": ""}', "empty response"),
        ('{"prompt": "a", "response": " b", "choices": [" c", " d"]}', "not among the 2 choices"),
        ('{"text": "a", "label": 1}', "--template"),
        ('{"messages": []}', "assistant's answer"),
        ('{"prompt": "' + "word " * 300 + '", "response": " a"}', "tokens"),
        ("\x00", "not a JSON object"),
    ],
)
def test_examples_are_refused_by_line(
    library: Library, bundles: Bundles, tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"prompt": "a film", "response": " a"}\n' + line + "\n", encoding="utf-8")
    error = library.run("evaluate", bundles("llama"), "--data", file, code=1)["error"]
    assert told in error
    assert "2" in error  # the line, or the example


def test_files_that_are_no_adapters_are_refused(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    good = (bundles("llama") / "adapter.safetensors").read_bytes()
    file = tmp_path / "a.safetensors"
    damaged = bytearray(good)
    damaged[-3] ^= 8
    for content in (b"", good[:7], good[: len(good) // 2], b"\xff" * 64, bytes(damaged)):
        file.write_bytes(content)
        error = library.run("load", bundles("llama"), "--adapter", file, code=1)["error"]
        assert str(file) in error
    other = bundles("gemma") / "adapter.safetensors"
    error = library.run("load", bundles("llama"), "--adapter", other, code=1)["error"]
    assert "another bundle" in error or "was trained on bundle" in error or "numbers" in error


def test_exact_gradients_are_refused_in_a_sentence(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    lines = [f'{{"prompt": "a film {i}", "response": " {"al"[i % 2]}"}}' for i in range(8)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    words = "--data", tmp_path / "data.jsonl", "--settings", '{"estimator": "exact"}'
    error = library.run("personalize", bundles("llama"), *words, code=2)["error"]
    assert "exact" in error
    assert "gradients" in error


def test_wrong_use_has_exit_code_2(library: Library, bundles: Bundles) -> None:
    for words in (
        ("nope",),
        ("choose", "a.dsa", "--nope"),
        ("choose", str(bundles("llama")), "--prompt", "a"),
        ("choose", str(bundles("llama")), "--prompt", "a", "--choices", " a"),
        ("generate", str(bundles("llama")), "--prompt", "a", "--max-tokens", "x"),
    ):
        assert library.run(*words, code=2)["error"].startswith("dsa_runner: ")


def test_the_interface_refuses_what_is_null(library: Library, bundles: Bundles) -> None:
    with Runner(library, bundles("llama")) as me:
        assert me.ask("nothing")["text"] == [2, 2]  # wrong use
        with pytest.raises(RunnerError, match="the runner is null"):
            me.text("dsa_tokens", b"a", null=True)
        with pytest.raises(RunnerError, match="not UTF-8"):
            me.text("dsa_tokens", b"\xff\xfe")
        with pytest.raises(RunnerError, match="hyper-parameters"):
            me.fit([{"prompt": "a", "response": " b"}], 1, nonsense=1)


@pytest.mark.parametrize("target", ["manifest", "adapter", "tokenizer", "jsonl", "store"])
def test_mutated_files_are_answered_or_refused(
    library: Library, bundles: Bundles, target: str
) -> None:
    """Those of a bundle, and what fuzzing has kept (`make fuzz` finds more)."""
    of_bundle = {"manifest": "manifest.json", "adapter": "adapter.safetensors"}
    seeds = sorted((Path(__file__).parents[1] / "hostile" / "corpus" / target).iterdir())
    if target not in ("jsonl", "store"):
        seeds.append(bundles("llama") / of_bundle.get(target, "tokenizer.json"))
    program = library.folder / "tests" / f"fuzz_{target}"
    times = "300" if target == "store" else "2000"
    done = subprocess.run([program, "1", times, *seeds], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
