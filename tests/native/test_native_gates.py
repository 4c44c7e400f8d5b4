"""Gates that the native runner makes and learns: those of Python, with its routes and journals."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_learn import Native
from native_runner import Library, Runner, RunnerError
from test_native_runner import Bundles, examples, free, lines, python, several, written

from dsa_edge.clusters import clustered, differences, scattered
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Hyperparameters

# Singular vectors come from LAPACK there and from Jacobi's rotations here: they agree to about
# 1e-13, and gates to a rounding of float32, mostly to the bit. Losses over choices are logarithms
# in float32, whose last bit numpy and the C library see differently: 4e-8 of a gate's gradient.
SAME = {"rtol": 1e-5, "atol": 1e-6}
needs_executorch = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)


def table(told: str, width: int) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(told), np.float32).reshape(-1, width + 1)


@pytest.mark.parametrize(
    ("count", "width", "blocks"), [(60, 24, 3), (200, 24, 5), (5, 24, 2), (3, 64, 4), (1, 8, 2)]
)
def test_gates_of_prompts_are_those_of_python(
    native: Native, count: int, width: int, blocks: int
) -> None:
    """Many prompts and few, fewer than blocks, and some that are the same."""
    random = np.random.default_rng(count)
    tasks = random.normal(0, 2, (4, width)) * (1 + 30 * (np.arange(width) == 2))
    pooled = (tasks[np.arange(count) % 4] + random.normal(0, 1, (count, width))).astype(np.float32)
    pooled[count // 2 :: 7] = pooled[0]
    for seed in (0, 5, 2**40 + 1):
        told = native(
            "gates", pooled=pooled.ravel().tolist(), width=width, blocks=blocks, seed=seed
        )
        for name, make in (("clustered", clustered), ("scattered", scattered)):
            wanted = make(pooled, blocks, seed).table
            size = np.abs(wanted).max() or 1.0
            np.testing.assert_allclose(table(told[name], width) / size, wanted / size, **SAME)
    found = np.array(told["differences"]).reshape(-1, width + 1)
    np.testing.assert_allclose(found, differences(pooled), rtol=1e-8, atol=1e-10)


def told(bundle: Path, store: Path) -> dict[str, Any]:
    """What a fit left behind."""
    with python(bundle, store) as me:
        run = me.fits()[-1]
        at = [0, 1, run.kept or 1, 4]
        gates = [adapter.gate for adapter in me.replay(at)]
        assert all(gates)
        return {
            "rates": [step.rate for step in me.journal()],
            "scalars": np.stack([step.slopes for step in me.journal()]),
            "gates": np.stack([gate.table for gate in gates if gate]),
            "gate": None if me.adapter.gate is None else me.adapter.gate.table,
            "version": me.version,
            "hyper": run.hyper,
        }


FITS = [
    pytest.param("clusters", lines(), id="clusters-choices"),
    pytest.param("clusters", free(), id="clusters-free"),
    pytest.param("learned", lines(), id="learned-choices"),
    pytest.param("learned", several(), id="learned-several"),
    pytest.param("scratch", free(), id="scratch-free"),
]


@needs_executorch
@pytest.mark.parametrize(("gate", "given"), FITS)
def test_a_first_fit_makes_the_gate_routes_and_journal_of_python(
    library: Library, bundles: Bundles, tmp_path: Path, gate: str, given: list[dict[str, Any]]
) -> None:
    """And a second one goes on with them."""
    bundle, here, there = bundles("gated"), tmp_path / "native", tmp_path / "python"
    hyper = {"queries": 4, "batch": 5, "rate": 0.02, "epsilon": 0.05, "gate": gate}
    smoothing = 0.2 if "choices" in given[0] else 0.0
    for fit in range(2):
        with Runner(library, bundle, here) as me:
            mine = me.fit(given, 4, **hyper)
        own = Hyperparameters.from_dict({**mine["hyperparameters"], "smoothing": smoothing})
        with python(bundle, there) as me:
            theirs = me.fit(examples(given), Budget(steps=4), hyperparameters=own)
        assert (mine["verdict"], mine["version"]) == (theirs.verdict, theirs.version)
        assert tuple(mine["routes"]) == theirs.routes
        assert tuple(map(tuple, mine["served_examples"])) == theirs.served_examples
        assert mine["evenness"] == pytest.approx(theirs.evenness)
        assert mine["notes"] == list(theirs.notes)
        assert mine["after"]["loss"] == pytest.approx(theirs.after.loss, abs=1e-5)
        a, b = told(bundle, here), told(bundle, there)
        assert a["hyper"] == b["hyper"]
        assert (a["rates"], a["version"]) == (b["rates"], b["version"])
        width = 4 * 3
        assert a["scalars"].shape[1] == (width if gate == "clusters" else width + 3 * 17)
        np.testing.assert_array_equal(a["scalars"][:, :width], b["scalars"][:, :width])
        np.testing.assert_allclose(a["scalars"][:, width:], b["scalars"][:, width:], **SAME)
        size = np.abs(b["gates"]).max()
        np.testing.assert_allclose(a["gates"] / size, b["gates"] / size, **SAME)
        assert gate == "clusters" or fit or not np.array_equal(a["gates"][0], a["gates"][-1])
        if b["gate"] is not None:
            np.testing.assert_allclose(a["gate"] / size, b["gate"] / size, **SAME)


@needs_executorch
def test_one_block_has_no_gate_to_learn(library: Library, bundles: Bundles) -> None:
    with (
        Runner(library, bundles("llama")) as me,
        pytest.raises(RunnerError, match="chooses among blocks, and all 1 here") as caught,
    ):
        me.fit(lines(), 2, gate="learned")
    assert caught.value.kind == "usage"


def steps_of(store: Path) -> int:
    """Steps in the journal of a fit that is under way."""
    file = store / "user.db"
    if not file.exists():
        return 0
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(file)) as database:
        return int(database.execute("SELECT count(*) FROM journal").fetchone()[0])
    return 0


@needs_executorch
def test_a_killed_fit_goes_on_with_the_gate_that_it_was_learning(
    library: Library, bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles("gated")
    data = written(tmp_path, free())
    asked = "--data", data, "--steps", "60", "--settings", '{"gate": "learned", "queries": 4}'
    words = [str(w) for w in ("personalize", bundle, "--store", tmp_path / "killed", *asked)]
    with subprocess.Popen(
        [library.folder / "dsa_runner", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        while run.poll() is None and steps_of(tmp_path / "killed") < 5:
            time.sleep(0.01)
        run.kill()
        run.communicate()
    resumed = library.run(*words)
    whole = library.run("personalize", bundle, "--store", tmp_path / "whole", *asked)
    assert 5 <= resumed["resumed"] < 60
    assert (resumed["verdict"], resumed["steps"]) == (whole["verdict"], whole["steps"])
    assert resumed["routes"] == whole["routes"]
    a, b = told(bundle, tmp_path / "killed"), told(bundle, tmp_path / "whole")
    np.testing.assert_array_equal(a["scalars"], b["scalars"])
    np.testing.assert_array_equal(a["gates"], b["gates"])
