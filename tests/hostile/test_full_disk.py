"""A disk that is full at any write: one error of ours, and what was there is there to the bit.

A limit on the size of files (RLIMIT_FSIZE) makes writes fail as a full disk does. It is raised step
by step, so that each write of an operation is once the first one that fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash_model import SAVED, FixedKey, Model, digest, make_bundle, observe, open_versions
from stub import EXAMPLES, StubEngine, fixed_chunks

from dsa_edge.adapter import Adapter, load_adapter, save_adapter, write_atomic
from dsa_edge.cli import main
from dsa_edge.cli._html import write_report
from dsa_edge.errors import AdapterError, BudgetError, DsaEdgeError, ExportError
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._objective import items_of
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, update
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._versions import Versions

resource = pytest.importorskip("resource", reason="Windows has no limits on files")
pytest.importorskip("cryptography", reason="the package cryptography is not installed")

HYPER = Hyperparameters(queries=2)
TOLD = [Example(f"what they said, {i}", " a", (" a", " b")) for i in range(4)]
LIMITS = [0, 1, 512, *range(1024, 40_000, 1800), *range(40_000, 200_000, 16_000)]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclass
class Site:
    """An open store, with what it takes to change it. run: the fit that is under way."""

    me: Versions
    folder: Path
    run: int
    state: State

    def step(self) -> dict[str, Any]:
        step = Step(0.1, np.array([1, -2], np.float32))
        update(self.state, 5, HYPER, step)
        self.me._store.append(self.run, step)
        return {"digest": digest(Adapter(self.state.theta))}

    def end(self) -> dict[str, Any]:
        adapter = Adapter(self.state.theta, {" a": 0.5})
        self.me._store.end_run(self.run, "improved", (adapter, 1, {}))
        return {"verdict": "improved", "digest": digest(adapter)}

    def start(self) -> dict[str, Any]:
        old, ids = self.me.adapter, [self.me.example_id(TOLD[3])]
        self.me._store.start_run(1, 6, asdict(HYPER), ids)
        given = {"parent": 1, "seed": 6, "examples": ids}
        return {**given, "digest": digest(Adapter(old.vector))}

    def remember(self) -> dict[str, Any]:
        ids = {self.me.example_id(told): told for told in TOLD}
        self.me._remember(ids)
        return {"examples": list(ids)}

    def load(self) -> dict[str, Any]:
        size = self.me.bundle.manifest.adapter_size
        self.me.load_adapter(self.folder / SAVED)
        return {"parent": 1, "digest": digest(Adapter(np.ones(size, np.float32)))}

    def save(self) -> dict[str, Any]:
        self.me.save_adapter(self.folder / SAVED)
        return {"digest": digest(self.me.adapter)}

    def rollback(self) -> dict[str, Any]:
        self.me.rollback(0)
        return {"version": 0}

    def forget_examples(self) -> dict[str, Any]:
        ids = [self.me.example_id(TOLD[0])]
        self.me.forget(ids)
        return {"examples": ids}

    def rekey(self) -> dict[str, Any]:
        self.me.rekey(FixedKey(2))
        return {"key": 2}

    def forget(self) -> dict[str, Any]:
        self.me.forget()
        return {}


OPERATIONS = (
    "step", "end", "start", "remember", "load", "save", "rollback", "forget_examples", "rekey",
    "forget",
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed store with a version, its journal, examples, and a second fit under way."""
    folder = tmp_path_factory.mktemp("filled") / "f"
    make_bundle(folder / "bundle")
    me = open_versions(folder, 1)
    ids = {me.example_id(told): told for told in TOLD[:3]}
    me._remember(ids)
    vector = np.linspace(-1, 1, me.bundle.manifest.adapter_size, dtype=np.float32)
    run = me._store.start_run(0, 4, asdict(HYPER), list(ids))
    me._store.append(run, Step(0.1, np.array([3, 4], np.float32)))
    me._store.end_run(run, "improved", (Adapter(vector, {" a": 0.1}), 1, {}))
    me._store.start_run(1, 5, asdict(HYPER), list(ids))
    me._store.close()
    ones, manifest = Adapter(np.ones_like(vector)), me.bundle.manifest
    save_adapter(folder / SAVED, ones, me.bundle.identity, manifest.adapter)
    return folder


def site(filled: Path, folder: Path) -> tuple[Site, Model]:
    shutil.copytree(filled, folder)
    me = open_versions(folder, 1)
    me._store._next = 0
    return Site(me, folder, 2, State(me.adapter.vector)), observe(me, folder, 1)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_write_that_fails_takes_anything_with_it(
    filled: Path, tmp_path: Path, operation: str
) -> None:
    failed = 0
    for limit in LIMITS:
        made, before = site(filled, tmp_path / f"{limit}")
        error = None
        with full_disk(limit):
            try:
                given = getattr(made, operation)()
            except DsaEdgeError as caught:
                error = caught
        if error is None:
            after = before.after(operation, given)
            assert observe(made.me, made.folder, after.key) == after
            made.me._store.close()
            break
        failed += 1
        tell(operation, limit, error)
        same_after(error, made, before, operation)
    else:
        pytest.fail("it never worked")
    assert failed


def tell(operation: str, limit: int, error: DsaEdgeError) -> None:
    """For `pytest -s`, which the figures of docs/reliability.md come from."""
    print(f"\nfailed write: {operation}, files of {limit} bytes: {str(error)[-90:]}")


def same_after(error: DsaEdgeError, made: Site, before: Model, operation: str) -> None:
    """Nothing has changed, or all of it, as the error says; open or opened again, it goes on."""
    assert str(error).endswith(".")
    folder = made.folder
    if "was changed as asked" in str(error):
        assert operation in ("forget", "forget_examples", "rekey")
        ids = [made.me.example_id(TOLD[0])]
        given = {"rekey": {"key": 2}, "forget_examples": {"examples": ids}}.get(operation, {})
        before = before.after(operation, given)
    assert observe(made.me, folder, before.key) == before
    assert not list(folder.rglob("*.partial"))
    made.me.load_adapter(folder / SAVED)
    loaded = max(before.versions, default=0) + 1
    assert made.me.version == loaded
    made.me._store.close()
    again = open_versions(folder, before.key)
    assert again.version == loaded
    again._store.close()


def test_opening_a_store_on_a_full_disk_is_an_error_and_harmless(
    filled: Path, tmp_path: Path
) -> None:
    made, before = site(filled, tmp_path / "me")
    made.me._store.close()
    opened = 0
    for limit in LIMITS:
        with full_disk(limit):
            try:
                open_versions(made.folder, 1)._store.close()
                opened += 1
            except DsaEdgeError as error:
                assert "free space" in str(error)
        again = open_versions(made.folder, 1)
        assert observe(again, made.folder, 1) == before
        again._store.close()
    assert 0 < opened < len(LIMITS)
    for limit in LIMITS:  # a new one
        fresh = tmp_path / f"new {limit}"
        with full_disk(limit):
            try:
                Store(fresh, "a" * 64).close()
            except DsaEdgeError as error:
                assert "free space" in str(error)
        Store(fresh, "a" * 64).close()


def personalizer(bundle: Path, folder: Path) -> Personalizer:
    engine = StubEngine(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def test_a_prompt_cache_that_finds_no_disk_leaves_no_file(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path / "me") as me:
        items = items_of(Encoder(me._tokenizer, me.bundle.manifest).encode_all(EXAMPLES))
        (tmp_path / "spill").mkdir()
        for limit in (0, 100):
            with full_disk(limit), pytest.raises(BudgetError, match="MB of disk and cannot have"):
                PromptCache(me._engine, items, fixed_chunks(cache=0), tmp_path / "spill")
        assert not list((tmp_path / "spill").iterdir())


def test_a_report_that_finds_no_disk_leaves_the_old_one(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path / "me") as me:
        report = me.fit(EXAMPLES, Budget(steps=2))
    (tmp_path / "r.html").write_text("old")
    for limit in (0, 1000):
        with full_disk(limit), pytest.raises(AdapterError, match=r"r\.html .*free some space"):
            write_report(tmp_path / "r.html", report, "title", [])
    assert (tmp_path / "r.html").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"me", "r.html"}


def test_the_command_line_says_so_in_one_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "d.jsonl"
    rows = [{"prompt": told.prompt, "response": told.response} for told in EXAMPLES]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    me, options = tmp_path / "me", ["--data", str(data), "--steps", "2"]
    assert main(["personalize", str(bundle), "--store", str(me), *options]) == 0
    before = (me / "user.db").read_bytes()
    capsys.readouterr()
    with full_disk(200):
        code = main(["personalize", str(bundle), "--store", str(me), *options])
    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith("dsa-edge personalize: ")
    assert said.count("\n") == 1
    assert (me / "user.db").read_bytes() == before
    assert (me / "user.db-wal").stat().st_size == 0


def test_an_export_that_finds_no_disk_leaves_the_old_bundle(
    bundle_copy: Path, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    from dsa_edge.exporters import export

    model = tiny_checkpoint("llama")
    before = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    with full_disk(3000), pytest.raises(ExportError, match="export failed in stage"):
        export(model, bundle_copy, overwrite=True)
    after = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == [bundle_copy.name]


def test_an_adapter_file_is_replaced_whole_or_not_at_all(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path / "me") as me:
        file, size = tmp_path / "a.safetensors", me.bundle.manifest.adapter_size
        me.save_adapter(file)
        old = file.read_bytes()
        with me._store.writing():
            me._store.add_version(0, Adapter(np.ones(size, np.float32)), "loaded", 0, {})
        for limit in (0, 1, len(old) // 2, len(old) - 1):
            with full_disk(limit), pytest.raises(AdapterError, match="the old file is untouched"):
                me.save_adapter(file)
            assert file.read_bytes() == old
        me.save_adapter(file)
        assert load_adapter(file, me.bundle.identity, size).vector.all()


def test_what_a_kill_left_of_a_write_goes_with_the_next_one(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [f".a[1].txt.{number}.partial" for number in (gone.pid, 10**30)]
    kept = [f".a[1].txt.{os.getppid()}.partial", ".a[1].txt.x.partial", f".b.{gone.pid}.partial"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    write_atomic(tmp_path / "a[1].txt", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a[1].txt"])
    assert (tmp_path / "a[1].txt").read_bytes() == b"new"
