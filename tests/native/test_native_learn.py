"""Learning in C++ and in Python: one store, the same journals, the same bits."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_engine import Content, fit
from native_learn import IDENTITY, Native

from dsa_edge.runtime._hyperparameters import ESTIMATORS, OPTIMIZERS, Hyperparameters
from dsa_edge.runtime._optimizer import replay
from dsa_edge.runtime._store import Store

SHAPES = ((6, 4), (5,), (4, 3))
SIZE = 41
PAIRS = [
    (estimator, optimizer)
    for estimator in ESTIMATORS
    for optimizer in OPTIMIZERS
    if estimator != "exact" and (estimator, optimizer) != ("one-sided", "normalized")
]


def responses(count: int = 60) -> list[Content]:
    """Free responses: numbers to hit."""
    random = np.random.default_rng(1)
    return [[str(i % 12), f"{random.normal():.3f}", [], False] for i in range(count)]


def labelled(count: int = 60, choices: int = 2) -> list[Content]:
    """Choices that follow from the prompt."""
    names = [f" {chr(97 + k)}é\n" for k in range(choices)]
    return [[str(i % 12), names[i % 12 % choices], names, False] for i in range(count)]


def theta(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 0.1, size).astype(np.float32)


def asked(hyper: Hyperparameters, examples: list[Content], **more: Any) -> dict[str, Any]:
    return {
        "theta": theta().tolist(), "shapes": SHAPES, "hyper": asdict(hyper), "examples": examples,
        "seed": 2**62 + 5, **more,
    }  # fmt: skip


def rows(folder: Path) -> list[bytes]:
    """The journal of a store's last fit."""
    store = Store(folder, IDENTITY)
    steps = store.journal(store.run())
    store.close()
    return [np.array([s.rate, *s.slopes], "<f4").tobytes() for s in steps]


def of_python(folder: Path, hyper: Hyperparameters, examples: list[Content], steps: int, blocks: int = 1) -> Any:
    store = Store(folder, IDENTITY)
    try:
        shapes = SHAPES * blocks if blocks > 1 else SHAPES
        return fit(store, examples, theta(SIZE * blocks), hyper, steps, 2**62 + 5, shapes, blocks)[0]
    finally:
        store.close()


def test_the_golden_vectors_are_the_same(native: Native) -> None:
    golden = Path(__file__).parents[1] / "golden"
    done = subprocess.run([native.folder / "tests" / "learn_golden", golden], capture_output=True, text=True)
    assert done.stdout == "0 failed\n"


@pytest.mark.parametrize(("estimator", "optimizer"), PAIRS)
def test_a_fit_makes_the_same_journal(native: Native, tmp_path: Path, estimator: str, optimizer: str) -> None:
    hyper = replace(Hyperparameters.suited(False, estimator, optimizer), queries=5, rank=2, refresh=3)
    outcome = of_python(tmp_path / "python", hyper, responses(), 15)
    report = native("fit", tmp_path / "native", steps=15, **asked(hyper, responses()))
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert (report["verdict"], report["steps"]) == (outcome.verdict, outcome.steps)
    assert report["tokens"] == outcome.tokens
    assert report["after"]["loss"] == pytest.approx(outcome.after.loss, rel=1e-6)  # float32 losses


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if e != "exact"])
@pytest.mark.parametrize("choices", [2, 9])
def test_a_fit_on_choices_makes_the_same_journal(native: Native, tmp_path: Path, estimator: str, choices: int) -> None:
    hyper = replace(Hyperparameters.suited(True, estimator), queries=6)
    outcome = of_python(tmp_path / "python", hyper, labelled(choices=choices), 20)
    report = native("fit", tmp_path / "native", steps=20, **asked(hyper, labelled(choices=choices)))
    assert rows(tmp_path / "native") == rows(tmp_path / "python")
    assert report["verdict"] == outcome.verdict
    assert report["after"]["accuracy"] == pytest.approx(outcome.after.accuracy)
