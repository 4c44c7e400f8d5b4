"""A store does not grow with every fit, and what it lets go is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from users import HYPER, IDENTITY, LEARNED, examples, personalizer, step

from dsa_edge.adapter import Adapter
from dsa_edge.errors import StoreError
from dsa_edge.runtime import Budget
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._store import Store

FITS, KEPT = 40, 32


def learned(
    store: Store, number: int, texts: list[str], start: Floats = LEARNED.vector
) -> int | None:
    ids = [store.example_id(text) for text in texts]
    run = store.start_run(store.active, number, HYPER, ids)
    for index in range(3):
        store.append(run, step(index))
    made = Adapter(start + np.float32(number), LEARNED.labels)
    return store.end_run(run, "improved", (made, 3, {}))


def many_fits(folder: Path) -> Store:
    store = Store(folder, IDENTITY)
    for number in range(1, FITS + 1):
        assert learned(store, number, [f"text {number}.{i}" for i in range(4)]) == number
    return store


def test_only_the_newest_versions_keep_their_numbers(tmp_path: Path) -> None:
    store = many_fits(tmp_path)
    store.close()
    store = Store(tmp_path, IDENTITY)
    assert [v.id for v in store.versions()] == list(range(1, FITS + 1))
    assert [v.id for v in store.versions() if v.kept] == list(range(FITS - KEPT + 1, FITS + 1))
    assert store.newest_whole().version == FITS
    oldest = store.adapter(FITS - KEPT + 1)
    np.testing.assert_array_equal(oldest.vector, LEARNED.vector + np.float32(FITS - KEPT + 1))
    assert oldest.labels == LEARNED.labels
    with pytest.raises(StoreError, match="version 3 is no longer kept, the newest 32 are"):
        store.activate(3)
    assert store.active == FITS


def test_only_the_newest_fits_keep_their_steps(tmp_path: Path) -> None:
    store = many_fits(tmp_path)
    held = [run.id for run in store.runs() if run.numbers]
    assert held == list(range(FITS - KEPT + 1, FITS + 1))
    assert len(store.journal(store.run(FITS))) == 3
    assert store.journal(store.run(1)) == []
    assert all(len(run.examples) == 4 for run in store.runs())


def test_a_store_stops_growing_but_for_the_ids_of_examples(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    sizes, start = [], np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    for number in range(1, 3 * KEPT + 1):
        learned(store, number, [f"text {number}"], start)
        if number in (KEPT + 4, 3 * KEPT):
            store.close()  # which folds the write-ahead log into the file
            store = Store(tmp_path, IDENTITY)
            sizes.append(store.bytes)
    # 60 fits at under 600 bytes: a version's row, and a fit's. The version itself takes 17,000.
    assert sizes[1] - sizes[0] < 60 * 600


def test_forgetting_goes_back_past_versions_that_are_not_kept(tmp_path: Path) -> None:
    store = many_fits(tmp_path)
    gone = store.forget_examples([store.example_id("text 5.1")])
    assert gone == tuple(range(5, FITS + 1))  # all that came from it, kept or not
    assert store.active == 0  # versions 1 to 4 are no longer kept
    assert [run.id for run in store.runs()] == [1, 2, 3, 4]


def test_of_too_many_examples_a_fair_sample_is_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    for batch in range(3):
        texts = [f"text {batch}.{i}" for i in range(600)]
        store.remember({store.example_id(text): text for text in texts})
    kept = list(store.remembered().values())
    assert len(kept) == 1000
    for batch in range(3):  # a third each; a hypergeometric count of mean 333, deviation 10
        assert 280 < sum(text.startswith(f"text {batch}.") for text in kept) < 390


def test_history_goes_on_over_many_real_fits(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        me.fit(examples(), Budget(steps=40))
        path = tmp_path / "a.safetensors"
        me.save_adapter(path)
        for _ in range(KEPT + 1):
            me.load_adapter(path)
        assert me.version == KEPT + 2
        with pytest.raises(StoreError, match="version 1 is no longer kept"):
            me.rollback(1)
        assert me.replay([1], run=1)[0].vector.any()  # from the bundle's initial adapter
