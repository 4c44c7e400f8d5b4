"""Java over the real native runner, on this machine's JVM, beside Python on the same files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from android_scripts import ROOT, run
from filelock import FileLock

from dsa_edge.errors import BundleError
from dsa_edge.runtime import Example, Personalizer

sys.path.insert(0, str(ROOT.parent / "tests" / "native"))
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
    """Where libdsaedge.so over the real runner is; that one is built once for all tests."""
    from native_runner import build

    native = ROOT.parent / "build" / "native"
    native.parent.mkdir(exist_ok=True)
    with FileLock(native.with_suffix(".lock")):
        build(native)
    out = tmp_path_factory.mktemp("jni")
    run("build_linux.sh", native / "libdsa_runner.so", out)
    return out


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


def test_a_process_killed_in_mid_step_loses_nothing_and_goes_on(
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
        done = len(me.journal())
    # The same fit in the next process goes on behind the last step that is on the disk.
    steps = done + 4
    *told, end = java(tmp_path / "me", "fit", steps, file)
    assert [int(line.split()[1]) for line in told] == list(range(done + 1, steps + 1))
    assert end.endswith(f", {steps}")
    with python(java, tmp_path / "me") as me:
        (fit,) = me.fits()
        assert fit.verdict is not None
        assert len(me.journal()) == steps


class Sevens:
    """The key that `Drive` gives with -Dseal=7."""

    name = "sevens"

    def key(self, store: str, salt: bytes) -> bytes:
        return bytes([7] * 32)


def test_a_store_that_java_sealed_opens_with_its_key_alone(
    java: Drive, file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "me"
    sealed = ["java", "-Dseal=7", *java.command(store, "fit", 6, file)[1:]]
    said = subprocess.run(sealed, capture_output=True, text=True).stdout.splitlines()
    with Personalizer.open(java.bundle, store, "executorch", threads=1, key=Sevens()) as me:
        assert me.sealed
        assert me.fits()[0].verdict == said[-1].split(", ")[0]
    for key in ([], ["-Dseal=8"]):
        wrong = ["java", *key, *java.command(store, "history")[1:]]
        done = subprocess.run(wrong, capture_output=True, text=True)
        assert done.stdout.startswith("WrongKeyException: "), done.stdout


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
