"""Java over the real native runner, on this machine's JVM, beside Python on the same files."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from java_drive import CHOICES, Drive, python

from dsa_edge.runtime import Personalizer


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
    said = java(store, "fit", 6, file, given=("-Dseal=7",))
    with Personalizer.open(java.bundle, store, "executorch", threads=1, key=Sevens()) as me:
        assert me.sealed
        assert me.fits()[0].verdict == said[-1].split(", ")[0]
    assert java.refused(store, "history")[0] == "WrongKeyException"
    assert java.refused(store, "history", given=("-Dseal=8",))[0] == "WrongKeyException"


def test_a_private_fit_tells_python_and_java_the_same(java: Drive, tmp_path: Path) -> None:
    file, me = tmp_path / "many.jsonl", tmp_path / "me"
    lines = [
        {"prompt": f"film {i} It was", "response": CHOICES[i % 2], "choices": CHOICES}
        for i in range(160)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    *steps, outcome, took = java(me, "fit", 5, file, given=("-Dprivacy=8",))
    assert [line.split()[2] for line in steps] == ["NaN"] * 5  # a loss would tell too much
    *numbers, accountant = took.split()
    with python(java, me) as there:
        (fit,) = there.fits()
        spent = fit.privacy
        assert spent is not None
        assert (spent.delta, spent.steps, spent.accountant) == (1e-5, 5, "rdp")
        assert [float(n) for n in numbers] == [
            spent.epsilon, spent.delta, spent.noise, spent.share, spent.steps,
        ]  # fmt: skip
        assert accountant == "rdp"
        if fit.version:
            (replayed,) = there.replay([fit.kept or 0])
            assert np.array_equal(replayed.vector, there.adapter.vector)
    kind, told = java.refused(me, "fit", 5, file, given=("-Dprivacy=8",))
    assert (kind, "already spent" in told) == ("PrivacyException", True), told
    assert len(java(me, "history")) == (1 if outcome.startswith("improved") else 0)
