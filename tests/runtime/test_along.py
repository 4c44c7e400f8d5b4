"""Learning along a start's directions: a user is a few numbers, and all else is as ever."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from starts import put_start

from dsa_edge.adapter import Adapter, read_adapter_info
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, BundleError, StoreError, UsageError
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer
from dsa_edge.runtime._subspace import Subspaces
from dsa_edge.start import Start

WORDS = ["quiet", "baker", "opens", "early", "warm", "bread", "rain", "river"]
FREE = [Example(f"say {word}", f" {word} and rain") for word in WORDS * 4]
CHOSEN = [Example(f"say {w}", (" a", " b")[i % 2], (" a", " b")) for i, w in enumerate(WORDS)] * 4


@pytest.fixture
def start(bundle_copy: Path) -> Start:
    return put_start(bundle_copy)


def along(count: int = 6, estimator: str = "axes", choices: bool = False) -> Hyperparameters:
    return Hyperparameters.suited(choices, estimator, along=count)


@pytest.mark.parametrize("examples", [FREE, CHOSEN], ids=["free", "chosen"])
@pytest.mark.parametrize("estimator", ["axes", "antithetic", "sparse", "one-sided", "lowrank"])
def test_it_learns_in_the_subspace_and_replays_to_the_bit(
    estimator: str, examples: list[Example], bundle_copy: Path, start: Start, tmp_path: Path
) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        hyper = along(estimator=estimator, choices=examples is CHOSEN)
        report = me.fit(examples, Budget(steps=12), hyperparameters=hyper)
        steps = me.replay([0, report.steps])
        np.testing.assert_array_equal(steps[0].vector, start.vector)
        moved = (steps[1].vector - start.vector).astype(np.float64)
        directions = start.directions.astype(np.float64)
        c = np.linalg.lstsq(directions.T, moved, rcond=None)[0]
        assert np.abs(moved).max() > 1e-3
        np.testing.assert_allclose(c @ directions, moved, atol=1e-6)  # rounding of float32 sums
        if report.verdict == "improved":
            kept = me.replay([me.history()[-1].steps])[0]
            np.testing.assert_array_equal(me.adapter.vector, kept.vector)
        assert report.adapter_bytes == 4 * 6


def test_axes_improve_and_a_new_program_reads_the_same(
    bundle_copy: Path, start: Start, tmp_path: Path
) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        report = me.fit(FREE, Budget(steps=20), hyperparameters=along())
        assert report.verdict == "improved"
        assert report.after.loss < report.before.loss - 0.1
        vector = me.adapter.vector
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        np.testing.assert_array_equal(me.adapter.vector, vector)
        me.forget()
        np.testing.assert_array_equal(me.adapter.vector, start.vector)


def test_a_user_is_a_few_numbers_in_the_store(
    bundle_copy: Path, start: Start, tmp_path: Path
) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        me.fit(FREE, Budget(steps=4), hyperparameters=along())
        (adapter,) = me.replay([4])
        me.use_adapter(adapter)
        me.use_adapter(Adapter(adapter.vector))
    with sqlite3.connect(tmp_path / "me" / "user.db") as database:
        rows = database.execute("SELECT length(record) + length(adapter) FROM versions").fetchall()
    small, whole = rows[-2][0], rows[-1][0]
    assert small < 400
    assert whole > 8_000


def test_a_small_file_is_less_than_a_kilobyte_and_loads(bundle_copy: Path, tmp_path: Path) -> None:
    file = tmp_path / "me.safetensors"
    put_start(bundle_copy, 64)
    with Personalizer.open(bundle_copy) as me:
        with pytest.raises(UsageError, match="no small form"):
            me.save_adapter(file, small=True)
        me.fit(FREE, Budget(steps=2), hyperparameters=along(64))
        (adapter,) = me.replay([2])
        me.use_adapter(adapter)
        me.save_adapter(file, small=True)
        assert file.stat().st_size < 1000
        assert me.is_compatible(file) == ()
    assert read_adapter_info(file)["numbers"] == 64
    with Personalizer.open(bundle_copy) as other:
        other.load_adapter(file)
        np.testing.assert_array_equal(other.adapter.vector, adapter.vector)


def test_a_small_file_needs_the_same_start(bundle_copy: Path, start: Start, tmp_path: Path) -> None:
    small, whole = tmp_path / "small.safetensors", tmp_path / "whole.safetensors"
    with Personalizer.open(bundle_copy) as me:
        me.fit(FREE, Budget(steps=4), hyperparameters=along())
        me.use_adapter(me.replay([4])[0])
        me.save_adapter(small, small=True)
        me.save_adapter(whole)
        vector = me.adapter.vector
    put_start(bundle_copy, seed=1)
    with Personalizer.open(bundle_copy) as other:
        assert "another learned start" in other.is_compatible(small)[0]
        with pytest.raises(AdapterError, match="numbers along the directions of start"):
            other.load_adapter(small)
        other.load_adapter(whole)  # which stands for itself
        np.testing.assert_array_equal(other.adapter.vector, vector)


def test_fits_go_on_from_each_other(bundle_copy: Path, start: Start, tmp_path: Path) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        me.fit(FREE, Budget(steps=4), hyperparameters=along(3))
        me.use_adapter(me.replay([4])[0])
        first = me.adapter
        me.fit(FREE, Budget(steps=4), hyperparameters=along(6))  # further directions
        begun, after = me.replay([0, 4])
        np.testing.assert_array_equal(begun.vector, first.vector)
        assert after.coordinates is not None
        assert after.coordinates.values.shape == (6,)
        me.use_adapter(after)
        with pytest.raises(UsageError, match="learned along 6 directions, so it is not within"):
            me.fit(FREE, Budget(steps=4), hyperparameters=along(3))
        led = me.adapter.vector
        me.fit(FREE, Budget(steps=4))  # all numbers, from where the directions led
        begun, after = me.replay([0, 4])
        np.testing.assert_array_equal(begun.vector, led)
        me.use_adapter(after)
        with pytest.raises(UsageError, match="learned along all numbers of the adapter"):
            me.fit(FREE, Budget(steps=4), hyperparameters=along())
        me.rollback(0)
        me.fit(FREE, Budget(steps=4), hyperparameters=along())


def test_another_start_in_the_bundle_leaves_stores_and_whole_adapters_as_they_are(
    bundle_copy: Path, start: Start, tmp_path: Path
) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        me.fit(FREE, Budget(steps=4))
        (whole,) = me.replay([4])
        me.use_adapter(whole)
    put_start(bundle_copy, seed=1)
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        np.testing.assert_array_equal(me.adapter.vector, whole.vector)
        with pytest.raises(StoreError, match="began from start .* this bundle has another"):
            me.replay([4], run=1)
        me.fit(FREE, Budget(steps=2))  # from a version that the store holds
        me.replay([2])


def test_what_was_learned_along_another_start_is_told_and_can_be_left(
    bundle_copy: Path, start: Start, tmp_path: Path
) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        me.fit(FREE, Budget(steps=4), hyperparameters=along())
        me.use_adapter(me.replay([4])[0])
    other = put_start(bundle_copy, seed=1)
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        with pytest.raises(AdapterError, match="or roll back to version 0"):
            me.generate("say", 1)
        with pytest.raises(StoreError, match="this bundle has another"):
            me.replay([4], run=1)
        me.rollback(0)
        np.testing.assert_array_equal(me.adapter.vector, other.vector)


def test_directions_that_are_not_there_are_refused_before_anything_is_cached(
    bundle: Path, bundle_copy: Path, start: Start
) -> None:
    for place, words in ((bundle, "this bundle has 0"), (bundle_copy, "this bundle has 6")):
        with Personalizer.open(place) as me:
            with pytest.raises(UsageError, match=f"7 directions were asked for, and {words}"):
                me.fit(FREE, Budget(steps=2), hyperparameters=along(7))
            assert me.fits() == []
    with pytest.raises(UsageError, match="along is 2 with keep"):
        Hyperparameters(along=2, keep=0.5)


def test_a_plan_knows_the_subspace(bundle_copy: Path, start: Start, tmp_path: Path) -> None:
    with Personalizer.open(bundle_copy, tmp_path / "me") as me:
        small = me.plan(FREE, Budget(steps=10), along())
        large = me.plan(FREE, Budget(steps=10))
    assert small.disk_mb < large.disk_mb


def test_a_manifest_with_no_such_start_is_refused(bundle_copy: Path, start: Start) -> None:
    from dsa_edge.manifest import checksum_of

    file = bundle_copy / "manifest.json"
    content = json.loads(file.read_text())
    whole = content["start"]
    for wrong in ({"id": "x"}, {**whole, "id": 3}, [1], {**whole, "directions": -1}):
        content["start"] = wrong
        content["checksum"] = checksum_of(content)
        file.write_text(json.dumps(content))
        with pytest.raises(BundleError, match="not a valid manifest"):
            Bundle.open(bundle_copy)


def test_lanes_are_the_vectors(bundle_copy: Path, start: Start) -> None:
    space = Subspaces(Bundle.open(bundle_copy)).first(4)
    c = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(space.lanes(c), [space.vector(row) for row in c], atol=1e-6)
    gradient = np.random.default_rng(1).standard_normal(start.vector.size).astype(np.float32)
    np.testing.assert_allclose(
        space.pulled(gradient), start.directions[:4].astype(np.float64) @ gradient, rtol=1e-4
    )
