"""Stores of many users: open while they are used, bounded, closed, damaged, refused."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from sharing import SINGLE, adapter, adapter_like, alone, assert_same
from users import edit

from dsa_edge.errors import AdapterError, BudgetError, DamagedError, StoreError, UsageError
from dsa_edge.runtime import Budget, FileKey, Personalizer, SharedBase
from dsa_edge.runtime.shared._stores import FRESH


def test_an_adapter_that_is_kept_opens_no_store(stores: list[Path], base: SharedBase) -> None:
    users = [base.user(store) for store in stores[:2]]
    expected = [user.adapter.vector.copy() for user in users]
    for user in users:
        user.store_bytes  # noqa: B018 (writes the log back)
    time.sleep(2 * FRESH)  # what was written just now is read again, kept or not
    for user in users:
        user.adapter  # noqa: B018
    asking = users[0]._store.database
    base._pool.close_idle(asking)  # type: ignore[arg-type]
    assert asking.suspend()  # type: ignore[attr-defined]
    base._pool.gone(asking)  # type: ignore[arg-type]
    for user, numbers in zip(users, expected, strict=True):
        np.testing.assert_array_equal(user.adapter.vector, numbers)
    assert len(base._pool) == 0
    with pytest.raises(ValueError, match="read-only"):
        users[0].adapter.vector[0] = 1


def test_closing_a_user_leaves_the_others_and_closing_the_base_closes_them(
    bundle: Path, stores: list[Path]
) -> None:
    base = SharedBase.open(bundle)
    first, second = base.user(stores[0]), base.user(stores[1])
    assert set(base.users) == {stores[0].resolve(), stores[1].resolve()}
    first.close()
    assert set(base.users) == {stores[1].resolve()}
    assert second.choose("Rain", SINGLE).text in SINGLE
    with pytest.raises(StoreError, match="was closed, expected an open one: open the user again"):
        first.choose("Rain", SINGLE)
    with pytest.raises(StoreError, match=r"row 1 \(.*/0\): the user of .*/0 was closed"):
        base.choose([(second, "Rain"), (first, "Rain")], SINGLE)
    again = base.user(stores[0])
    assert again.choose("Rain", SINGLE).text in SINGLE
    base.close()
    for user in (second, again):
        with pytest.raises(StoreError, match="was closed"):
            user.history()
    with pytest.raises(UsageError, match="base was closed, expected an open one: open the bundle"):
        base.user(stores[2])
    with pytest.raises(UsageError, match="base was closed"):
        base.choose([(second, "Rain")], SINGLE)
    with alone(bundle, stores[0]) as me:
        assert me.choose("Rain", SINGLE).text in SINGLE


def test_a_store_has_one_user_at_a_time(stores: list[Path], base: SharedBase) -> None:
    user = base.user(stores[0])
    with pytest.raises(UsageError, match="is open already, expected one user for each store: use"):
        base.user(stores[0].parent / "x" / ".." / "0")
    assert base.users[stores[0].resolve()] is user


def test_users_of_another_base_are_refused(
    bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    with alone(bundle, stores[0]) as stranger, SharedBase.open(bundle) as other:
        for user in (stranger, other.user(stores[1])):
            with pytest.raises(UsageError, match="not of this base, expected one that its `user`"):
                base.choose([(user, "Rain")], SINGLE)
            with pytest.raises(UsageError, match="not of this base"):
                base.generate([(user, "Rain")])


def test_a_store_of_another_bundle_is_refused_by_its_name(
    bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    with alone(bundle, tmp_path / "alice") as me:
        me.use_adapter(adapter(bundle, 1))
    with SharedBase.open(other_bundle) as other:
        bob = other.user(tmp_path / "bob")
        with pytest.raises(AdapterError, match="alice belongs to bundle .* open the bundle it"):
            other.user(tmp_path / "alice")
        assert bob.choose("Rain", SINGLE).text in SINGLE
        assert len(other._pool) == 1
    with alone(bundle, tmp_path / "alice") as me:
        assert me.version == 1


def test_a_damaged_store_is_named_and_the_others_go_on(bundle: Path, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        with alone(bundle, tmp_path / name) as me:
            me.use_adapter(adapter(bundle, 1))
    with SharedBase.open(bundle) as base:
        alice, bob = base.user(tmp_path / "alice"), base.user(tmp_path / "bob")
        expected = base.choose([(alice, "Rain")], SINGLE)
        base._pool.close_idle(None)  # type: ignore[arg-type]
        (tmp_path / "bob" / "user.db").write_bytes(b"no database at all" * 100)
        rows = [(alice, "Rain"), (bob, "Rain")]
        for ask in (lambda: base.choose(rows, SINGLE), lambda: base.generate(rows)):
            with pytest.raises(DamagedError, match=r"row 1 \(.*bob\): the store .*bob cannot be"):
                ask()
        assert_same(base.choose(rows[:1], SINGLE)[0], expected[0])
        assert alice.version == 1


def test_a_damaged_version_gives_way_to_the_one_before(bundle: Path, tmp_path: Path) -> None:
    with alone(bundle, tmp_path / "bob") as me:
        me.use_adapter(adapter(bundle, 1))
        expected = me.choose("Rain", SINGLE)
        me.use_adapter(adapter(bundle, 2))
    edit(tmp_path / "bob", "UPDATE versions SET adapter = x'00' WHERE id = 2")
    with SharedBase.open(bundle) as base:
        bob = base.user(tmp_path / "bob")
        assert_same(base.choose([(bob, "Rain")], SINGLE)[0], expected)
        assert bob.damaged == (2,)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux does")
def test_more_users_than_file_descriptors(bundle: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with SharedBase.open(bundle, open_stores=10_000) as base:
        base.choose([(base.user(None), "Rain")], SINGLE)  # all that the engine opens is open
        files = len(os.listdir("/proc/self/fd"))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files + 24, before[1]))
            users = [base.user(tmp_path / str(number)) for number in range(40)]
            for number, user in enumerate(users):
                user.use_adapter(adapter_like(base, number))
            held = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
            base._pool.close_idle(None)  # type: ignore[arg-type]
            while True:
                try:
                    held.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            with pytest.raises(StoreError, match=r"no file descriptor is left .*: raise the limit"):
                users[0].history()
            for descriptor in held:
                os.close(descriptor)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number, user in enumerate(users):
            expected = adapter_like(base, number).vector
            np.testing.assert_array_equal(user.adapter.vector, expected)


def test_sealed_users_beside_others(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key = FileKey(tmp_path / "key")
    with SharedBase.open(bundle, open_stores=1) as base:
        sealed, plain = base.user(tmp_path / "sealed", key), base.user(tmp_path / "plain")
        sealed.use_adapter(adapter(bundle, 1))
        plain.use_adapter(adapter(bundle, 2))
        rows = [(sealed, "Rain"), (plain, "Rain")]
        found = base.choose(rows, SINGLE)  # opened anew by the key that it was told at first
        sealed.close()
        with pytest.raises(StoreError, match="is sealed, and no key was given"):
            base.user(tmp_path / "sealed")
    with Personalizer.open(bundle, tmp_path / "sealed", key=key) as me:
        assert_same(found[0], me.choose("Rain", SINGLE))


def test_users_in_memory_keep_what_they_learn_until_closed(bundle: Path, base: SharedBase) -> None:
    users = [base.user(None), base.user(None)]
    users[0].use_adapter(adapter(bundle, 1))
    found = base.choose([(user, "Rain") for user in users], SINGLE)
    assert found[0] != found[1]
    assert base.users == {}
    with pytest.raises(BudgetError, match="memory_mb"):
        users[0].choose("Rain", SINGLE, budget=Budget(memory_mb=1))
