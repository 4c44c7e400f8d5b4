"""Forgetting: what was learned is gone, and so are its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from users import (
    HYPER,
    IDENTITY,
    LEARNED,
    contents,
    examples,
    personalizer,
    step,
    store_blobs,
    three_versions,
)

from dsa_edge.errors import UsageError
from dsa_edge.runtime import Budget
from dsa_edge.runtime._store import Store


def test_forgetting_leaves_no_byte_of_what_was_learned(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    run = store.start_run(0, 1, HYPER)
    for number in range(40):
        store.append(run, step(number + 1000))
    assert store.end_run(run, "improved", (LEARNED, 40, {})) == 1
    store.close()
    blobs = [
        *store_blobs(tmp_path, "SELECT adapter FROM versions UNION SELECT record FROM versions"),
        *store_blobs(tmp_path, "SELECT record FROM runs"),
        *store_blobs(tmp_path, "SELECT steps FROM journal"),
    ]
    before = contents(tmp_path)
    traces = [blob[i : i + 24] for blob in blobs for i in range(0, len(blob) - 24, 24)]
    traces = [trace for trace in traces if trace in before]
    assert len(traces) > 20  # a few are cut by the ends of pages
    store = Store(tmp_path, IDENTITY)
    store.forget()
    for _ in range(2):
        after = contents(tmp_path)  # the write-ahead log included, and while still open
        assert not [trace for trace in traces if trace in after]
        assert store.versions() == []
        assert store.runs() == []
        assert store.active == 0
        store.close()
        store = Store(tmp_path, IDENTITY)
    assert store.bytes < 16_000
    store.close()


def test_a_forgotten_store_learns_again(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        me.fit(examples(), Budget(steps=40))
        me.forget()
        assert me.version == 0
        assert not me.adapter.vector.any()
        assert me.fit(examples(), Budget(steps=40)).version == 1


def test_forgetting_examples_takes_what_was_learned_from_them(tmp_path: Path) -> None:
    store, groups = three_versions(tmp_path)
    assert store.forget_examples([groups[1][2]]) == (2, 3)
    assert store.active == 1
    assert [run.version for run in store.runs()] == [1]
    np.testing.assert_array_equal(store.adapter(1).vector, LEARNED.vector)
    assert len(store.remembered()) == 14
    assert "text 1.2" not in store.remembered().values()
    assert store.forget_examples(["00" * 8]) == ()
    store.close()


def test_the_personalizer_forgets_by_id(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        assert me.fit(examples(), Budget(steps=40), remember=True).version == 1
        assert len(me.remembered()) == len(set(examples()))
        gone = me.forget([me.example_id(examples()[3])])
        assert (gone.versions, gone.active, me.version) == ((1,), 0, 0)
        assert examples()[3] not in me.remembered().values()
        with pytest.raises(UsageError, match="'xyz' is no id of an example, expected 16 hex"):
            me.forget(["xyz"])
