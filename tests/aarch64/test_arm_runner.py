"""`dsa_runner` as aarch64: the native runtime from bundle to version, beside Python on the host.

Its ExecuTorch is the aarch64 wheel's, and once Android's. Losses differ in the last digits, and by
some 1e-3 nats where a number falls to the other side of an int8 level; tokens, order and arithmetic
do not.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machines import PROCESSORS, Machine, call, executorch

from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Labels, Personalizer, read_examples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(library_path("dsa_executorch") is None, reason="no ops: no compiler"),
]
LABELS = Labels("{text} It was", ("a", "b"))
WORDS = ("warm", "green", "slow", "great")
NATS = 0.02
STEPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "films.jsonl"
    rows = [{"text": f"the film was {WORDS[i % 4]} {i}", "label": i % 2} for i in range(24)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.fixture(scope="module")
def here(both: Path, data: Path) -> dict[str, Any]:
    """What Python learns from the same examples on this machine, on ExecuTorch."""
    with Personalizer.open(both, backend="executorch", threads=1) as me:
        report = me.fit(read_examples(data, LABELS), Budget(steps=STEPS), seed=3)
        return {**report.to_dict(), "slopes": me.journal()[0].slopes}


def assert_learns_as_here(
    machine: Machine, program: Path, both: Path, data: Path, here: dict[str, Any], store: Path
) -> None:
    """A fit of some steps, and its store, which Python reads here and rebuilds to the bit."""

    def run(verb: str, *options: object) -> dict[str, Any]:
        given = verb, both, "--store", store, "--json", *options
        return dict(json.loads(call(*machine.command(program, *given))))

    learn = ["--data", data, "--template", LABELS.template, "--labels", "a,b", "--seed", 3]
    report = run("personalize", *learn, "--steps", STEPS)
    assert report["steps"] == STEPS
    assert report["tokens"] == here["tokens"]
    for name in ("before", "calibrated"):
        assert report[name]["loss"] == pytest.approx(here[name]["loss"], abs=NATS)
    replayed = store.with_name("replayed.safetensors")
    told = run("replay", "--out", replayed)
    with Personalizer.open(both, store, backend="executorch", threads=1) as me:
        slopes = me.journal()[0].slopes
        assert slopes is not None
        np.testing.assert_allclose(slopes, here["slopes"], atol=2 * NATS / 0.2)
        (adapter,) = me.replay([STEPS])
        version = me.load_adapter(replayed)
        np.testing.assert_array_equal(me.adapter.vector, adapter.vector)
        text = me.generate("the film", max_tokens=4, version=0)
    assert told["steps"] == STEPS
    assert version > 0
    asked = "--prompt", "the film", "--max-tokens", 4, "--version", 0
    assert run("generate", *asked)["text"] == text


@pytest.mark.parametrize("processor", PROCESSORS)
def test_it_learns_as_python_does_on_the_host(
    processor: str, native: Path, both: Path, data: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    machine = Machine(processor, (executorch() / "lib",))
    assert_learns_as_here(machine, native / "dsa_runner", both, data, here, tmp_path / "me")


def test_it_learns_on_androids_library(
    android: Path,
    android_runner: Path,
    both: Path,
    data: Path,
    here: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Android's ExecuTorch library under a glibc shim: not Android's loader, allocator or ART."""
    machine = Machine("cortex-a76", (android,))
    assert_learns_as_here(machine, android_runner, both, data, here, tmp_path / "me")
    command = machine.command(android_runner, "info", tmp_path / "nowhere.dsa")
    missing = subprocess.run(command, capture_output=True, text=True)
    assert missing.returncode == 1
    assert "no bundle at" in missing.stderr
