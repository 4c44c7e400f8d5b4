"""The C++ learning as aarch64: the journals and bits of Python on the host.

Compilers for ARM fuse a product and a sum where they may, and char has no sign there: what must be
equal to the bit is looked at on every processor.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from machines import PROCESSORS, Machine, call
from native_learn import IDENTITY, Native
from test_native_learn import SHAPES, labelled, of_python, responses, rows, theta

from dsa_edge.runtime._hyperparameters import ESTIMATORS, Hyperparameters
from dsa_edge.runtime._optimizer import replay
from dsa_edge.runtime._store import Store

pytestmark = pytest.mark.slow
SEED = 2**62 + 5


class Arm(Native):
    """`learn_tool` under the emulator."""

    def __init__(self, folder: Path, processor: str) -> None:
        super().__init__(folder)
        self._machine = Machine(processor)

    def command(self) -> list[str]:
        return self._machine.command(self.folder / "tests" / "learn_tool")


@pytest.fixture(params=PROCESSORS)
def arm(request: pytest.FixtureRequest, learning: Path) -> Arm:
    return Arm(learning, request.param)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_its_own_tests_pass(learning: Path, processor: str) -> None:
    told = call("ctest", "--test-dir", learning, QEMU_CPU=processor)
    assert "100% tests passed" in told


def test_fits_make_the_same_journal_and_replay_to_the_bit(arm: Arm, tmp_path: Path) -> None:
    for estimator in ESTIMATORS:
        if estimator == "exact":
            continue
        hyper = replace(Hyperparameters.suited(False, estimator), queries=5, rank=2, refresh=3)
        here, there = tmp_path / f"{estimator}-here", tmp_path / f"{estimator}-there"
        of_python(here, hyper, responses(), 8)
        start = {"theta": theta().tolist(), "shapes": SHAPES}
        asked = {**start, "hyper": asdict(hyper), "examples": responses(), "seed": SEED}
        arm("fit", there, steps=8, **asked)
        assert rows(there) == rows(here), estimator
        store = Store(there, IDENTITY)
        run = store.run()
        states = replay(theta(), SEED, hyper, store.journal(run), [0, 3, 8], SHAPES)
        store.close()
        found = arm("replay", here, at=[0, 3, 8], **start)
        assert found["theta"] == [state.tobytes().hex() for state in states], estimator


def test_a_store_of_one_is_read_and_written_by_the_other(arm: Arm, tmp_path: Path) -> None:
    hyper = Hyperparameters.suited(True)
    outcome = of_python(tmp_path, hyper, labelled(), 10)
    asked = {"theta": theta().tolist(), "shapes": SHAPES, "hyper": asdict(hyper), "seed": SEED}
    again = arm("fit", tmp_path, steps=10, examples=labelled(), **asked)
    assert arm("history", tmp_path)["fits"][0][1] == outcome.verdict
    store = Store(tmp_path, IDENTITY)
    assert len(store.runs()) == 2
    assert [v.verdict for v in store.versions()].count("improved") == again["version"]
    store.close()
