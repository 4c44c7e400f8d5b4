"""Java over the real native runner, on this machine's JVM, beside Python on the same files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from android_scripts import run

from dsa_edge.errors import BundleError
from dsa_edge.runtime import Example, Personalizer

CHOICES = (" terrible", " great")
EXAMPLES = [
    Example(f"{text} It was", CHOICES[i % 2], CHOICES)
    for i, text in enumerate(["two hours wasted", "a joy 😀", 'he said "no"', "fine"] * 6)
]


class Drive:
    """The Java program `Drive` over one bundle."""

    def __init__(self, bundle: Path, built: Path, core: Path) -> None:
        self.bundle = bundle
        self._java = ["java", "-Xcheck:jni", f"-Djava.library.path={built}", "-cp"]
        self._java += [str(core / "classes"), "dev.dsaedge.Drive"]

    def command(self, store: Path | str, *verb: str | int | Path) -> list[str]:
        return [*self._java, str(self.bundle), str(store), *map(str, verb)]

    def __call__(self, store: Path | str, *verb: str | int | Path) -> list[str]:
        done = subprocess.run(self.command(store, *verb), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libdsaedge.so over the real runner."""
    executorch = find_spec("executorch")
    if executorch is None or not executorch.submodule_search_locations:
        pytest.skip("ExecuTorch is not installed")
    out = tmp_path_factory.mktemp("jni")
    return Path(run("build_linux.sh", executorch.submodule_search_locations[0], out).strip())


@pytest.fixture(scope="module")
def java(
    core: tuple[Path, str],
    built: Path,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Drive:
    from dsa_edge.exporters import export

    bundle = tmp_path_factory.mktemp("real") / "llama.dsa"
    export(tiny_checkpoint("llama"), bundle, ("onnx", "executorch"), check=False)
    return Drive(bundle, built, core[0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"prompt": e.prompt, "response": e.response, "choices": e.choices})
        for e in EXAMPLES
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def python(java: Drive, store: Path) -> Personalizer:
    return Personalizer.open(java.bundle, store, backend="executorch", threads=1)


def test_python_replays_what_java_learned(java: Drive, file: Path, tmp_path: Path) -> None:
    said = java(tmp_path / "me", "fit", 12, file)
    assert [line.split()[1] for line in said[:-1]] == [str(n) for n in range(1, 13)]
    told = [line.split() for line in java(tmp_path / "me", "history")]
    with python(java, tmp_path / "me") as me:
        (fit,) = me.fits()
        assert fit.verdict == said[-1].split(", ")[0]
        assert len(me.journal()) == 12
        assert [[str(v.id), str(v.active).lower()] for v in me.history()] == [
            [line[0], line[3]] for line in told
        ]
        if fit.version:
            (replayed,) = me.replay([fit.kept or 0])
            assert np.array_equal(replayed.vector, me.adapter.vector)  # to the bit


def test_java_answers_as_python_does(java: Drive, file: Path, tmp_path: Path) -> None:
    java(tmp_path / "me", "fit", 6, file)
    with python(java, tmp_path / "me") as me:
        choice = me.choose("a joy 😀 It was", CHOICES)
        text, *probabilities = java(tmp_path / "me", "choose", "a joy 😀 It was", *CHOICES)
        assert text == choice.text
        assert [float(p) for p in probabilities] == pytest.approx(choice.probabilities, abs=1e-3)
        written = "\n".join(java(tmp_path / "me", "generate", "a joy", 8))
        assert written == me.generate("a joy", 8).rstrip("\n")


def test_a_process_killed_in_mid_step_loses_nothing(
    java: Drive, file: Path, tmp_path: Path
) -> None:
    command = java.command(tmp_path / "me", "fit", 100000, file)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("step 3 "):
                running.send_signal(signal.SIGKILL)
                break
    with python(java, tmp_path / "me") as me:
        (fit,) = me.fits()
        assert fit.verdict is None  # it was interrupted
        assert len(me.journal()) >= 3  # each step was durable before it was told
        assert me.version == 0
    assert java(tmp_path / "me", "fit", 3, file)[-1].endswith(", 3")
    with python(java, tmp_path / "me") as me:
        assert len(me.fits()) == 2


def test_errors_arrive_as_java_types(java: Drive, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.dsa"
    shutil.copytree(java.bundle, spoiled)
    with (spoiled / "tokenizer.json").open("r+b") as tokenizer:
        tokenizer.write(b"?")
    with pytest.raises(BundleError):
        Personalizer.open(spoiled)
    whole, java.bundle = java.bundle, spoiled
    done = subprocess.run(java.command("-", "history"), capture_output=True, text=True)
    java.bundle = whole
    assert done.returncode == 1
    assert done.stdout.startswith("BundleException: ")
    done = subprocess.run(java.command("-", "rollback", 9), capture_output=True, text=True)
    assert done.stdout.startswith("StoreException: ") or done.stdout.startswith("UsageException: ")
