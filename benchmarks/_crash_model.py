"""What a store must hold, kept beside it, so that the two can be compared after a kill."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter, AdapterSpec, load_adapter, save_adapter
from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.errors import StoreError
from dsa_edge.manifest import BaseInfo, FileEntry, Golden, Manifest, TokenizerInfo
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._versions import Versions

__all__ = ["Fit", "FixedKey", "Model", "digest", "make_bundle", "observe", "open_versions", "saved"]

SAVED = "saved.safetensors"


class FixedKey:
    """A key that costs no time."""

    name = "the fixed key"

    def __init__(self, number: int) -> None:
        self._key = bytes([number]) * 32

    def key(self, store: str, salt: bytes) -> bytes:
        """The same key for every store."""
        return self._key


@dataclass
class Fit:
    """A fit: the digest of the adapter before it and after each of its steps."""

    parent: int
    seed: int
    examples: list[str]
    digests: list[str]
    version: int | None = None
    verdict: str | None = None


@dataclass
class Model:
    """Everything that a store and a saved adapter file say. versions: id → [parent, digest]."""

    key: int = 0  # 0 is unsealed
    active: int = 0
    versions: dict[int, tuple[int, str]] = field(default_factory=dict)
    fits: dict[int, Fit] = field(default_factory=dict)
    examples: set[str] = field(default_factory=set)
    saved: str | None = None

    def after(self, operation: str, given: Mapping[str, Any]) -> Model:
        """This model after an operation."""
        made = copy.deepcopy(self)
        getattr(made, f"_{operation}")(**given)
        return made

    def _save(self, digest: str) -> None:
        self.saved = digest

    def _load(self, parent: int, digest: str) -> None:
        self.active = max(self.versions, default=0) + 1
        self.versions[self.active] = parent, digest

    def _rollback(self, version: int) -> None:
        self.active = version

    def _rekey(self, key: int) -> None:
        self.key = key

    def _remember(self, examples: list[str]) -> None:
        self.examples |= set(examples)

    def _start(self, parent: int, seed: int, examples: list[str], digest: str) -> None:
        self.fits[max(self.fits, default=0) + 1] = Fit(parent, seed, examples, [digest])

    def _step(self, digest: str) -> None:
        self.fits[max(self.fits)].digests.append(digest)

    def _end(self, verdict: str, digest: str | None) -> None:
        fit = self.fits[max(self.fits)]
        fit.verdict = verdict
        if digest is not None:
            self._load(fit.parent, digest)
            fit.version = self.active

    def _forget(self) -> None:
        self.active, self.versions, self.fits, self.examples = 0, {}, {}, set()

    def _forget_examples(self, examples: list[str]) -> None:
        touched = {i for i, fit in self.fits.items() if set(examples) & set(fit.examples)}
        gone = {self.fits[i].version for i in touched}
        for version, (parent, _) in sorted(self.versions.items()):
            gone |= {version} if parent in gone else set()
        while self.active in gone:
            self.active = self.versions[self.active][0]
        touched |= {i for i, fit in self.fits.items() if fit.parent in gone}
        self.versions = {i: v for i, v in self.versions.items() if i not in gone}
        self.fits = {i: fit for i, fit in self.fits.items() if i not in touched}
        self.examples -= set(examples)


def digest(adapter: Adapter) -> str:
    """Of every bit of an adapter."""
    labels = repr(sorted(adapter.labels.items())).encode()
    return hashlib.sha256(adapter.vector.tobytes() + labels).hexdigest()[:16]


def observe(me: Versions, folder: Path, key: int) -> Model:
    """What is there, read through the same calls that a program would use."""
    found = Model(key, me.version, saved=saved(me.bundle, folder))
    if me.damaged:
        raise StoreError(f"versions {me.damaged} are damaged")
    for version in me.history():
        found.versions[version.id] = version.parent, digest(me._version(version.id))
    for run in me.fits():
        states = me.replay(range(len(me._store.journal(run)) + 1), run.id)
        digests = [digest(Adapter(state.vector)) for state in states]
        ids = list(run.examples)
        found.fits[run.id] = Fit(run.parent, run.seed, ids, digests, run.version, run.verdict)
    found.examples = set(me.remembered())
    return found


def saved(bundle: Bundle, folder: Path) -> str | None:
    """The digest of the adapter file, if there is one."""
    file, size = folder / SAVED, bundle.manifest.adapter_size
    return digest(load_adapter(file, bundle.identity, size)) if file.exists() else None


def open_versions(folder: Path, key: int) -> Versions:
    """The bundle and the store in a folder."""
    bundle = Bundle.open(folder / "bundle")
    provider = FixedKey(key) if key else None
    return Versions(bundle, Store(folder / "store", bundle.identity, provider))


def make_bundle(folder: Path, rank: int = 16) -> None:
    """A bundle without graphs, its adapter of 14 kB at rank 16: a store needs no more."""
    sizes = dict.fromkeys(("width", "n_heads", "n_kv_heads", "head_dim", "ffn_width"), max(8, rank))
    decoder = {"family": "llama", "n_layers": 2, "vocab_size": 9, "max_positions": 9, **sizes}
    base = BaseInfo("none", "gguf", "0" * 64, None, "int4", 4)
    tokens, spec = TokenizerInfo("0" * 64, None, (), 0, False), AdapterSpec(rank=rank, split=0.0)
    made = Manifest(base, decoder, spec, tokens, {}, {}, Golden("", (), ()))
    folder.mkdir(parents=True)
    file = folder / "adapter.safetensors"
    save_adapter(file, Adapter(np.zeros(made.adapter_size, np.float32)), made.identity, spec)
    made.files[file.name] = FileEntry(hash_file(file), file.stat().st_size)
    made.write(folder / "manifest.json")
