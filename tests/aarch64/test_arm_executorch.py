"""ExecuTorch's aarch64 libraries with our ops, beside ExecuTorch of the host.

The programs of a bundle run under the emulator (`far_engine.py`), so probes and fits are theirs.
Another processor has other kernels of XNNPACK, which add in another order. Where a number then
falls to the other side of an int8 level, it moves by 1/127 of its row's largest, and losses of a
random model by some 1e-3 nats; else they differ in the 6th digit.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from far_engine import FarBindings, far_engine
from machines import PROCESSORS, Machine, executorch

from dsa_edge.errors import EngineError
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, Personalizer
from dsa_edge.runtime._store import Store

pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)
NATS = 0.02
EXAMPLES = [
    Example(f"the film was {word} {i}", " a" if i % 2 else " b", (" a", " b"))
    for i, word in enumerate(["warm", "green", "slow", "great"] * 8)
]


def server(built: Path, processor: str, *libraries: Path) -> FarBindings:
    machine = Machine(processor, (executorch() / "lib",))
    return FarBindings(machine.command(built / "program_server", *libraries), dict(os.environ))


def ops(built: Path) -> Path:
    return built / "kernels" / "libdsa_executorch.so"


def personalizer(bundle: Path, bindings: FarBindings) -> Personalizer:
    engine = far_engine(bundle, bindings)
    return Personalizer(engine, Store(None, engine.bundle.identity, None))


def assert_learns_as_here(both: Path, far: Personalizer) -> None:
    """A few steps: losses, slopes and text of the host, and adapters that mean the same there."""
    with Personalizer.open(both, backend="executorch", threads=1) as here:
        expected, found = (me.fit(EXAMPLES, Budget(steps=4), seed=3) for me in (here, far))
        assert abs(expected.before.loss - found.before.loss) < NATS
        assert found.verdict == expected.verdict == "improved"
        first, theirs = (me.journal()[0].slopes for me in (here, far))
        assert first is not None
        assert theirs is not None
        # A slope is a difference of two losses over 2 ε = 0.2.
        np.testing.assert_allclose(theirs, first, atol=2 * NATS / 0.2)
        assert np.corrcoef(theirs, first)[0, 1] > 0.999
        assert far.generate("the film", max_tokens=4) == here.generate("the film", max_tokens=4)
        adapters = [here.adapter, far.adapter]
        losses = [[e.loss for e in me.evaluate(EXAMPLES, adapters)] for me in (here, far)]
        np.testing.assert_allclose(losses[1], losses[0], atol=NATS)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_fit_is_that_of_the_host(both: Path, built: Path, processor: str) -> None:
    with server(built, processor, ops(built)) as bindings:
        assert_learns_as_here(both, personalizer(both, bindings))


def test_programs_without_our_ops_do_not_load(both: Path, built: Path) -> None:
    with (
        server(built, "max") as bindings,
        pytest.raises(EngineError, match="error 20 in layer 0"),  # Error::OperatorMissing
    ):
        personalizer(both, bindings).fit(EXAMPLES, Budget(steps=1))


def test_android_computes_what_linux_does(both: Path, built: Path, android: Path) -> None:
    """Android's ExecuTorch library under a glibc shim: not Android's loader, allocator or ART.

    It is another release of ExecuTorch and XNNPACK than the one that made the programs.
    """
    machine = Machine("cortex-a76", (android,))
    command = machine.command(android / "program_server", android / "libdsa_executorch.so")
    with FarBindings(command, dict(os.environ)) as bindings:
        assert_learns_as_here(both, personalizer(both, bindings))
