"""What is fuzzed: targets that take any bytes, and let every exception but a DsaEdgeError out.

Used by `fuzz.py`, which finds new bytes, and by `test_corpus.py`, which replays the kept ones.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import (
    Adapter,
    AdapterSpec,
    compatibility,
    load_adapter,
    read_adapter_info,
)
from dsa_edge.errors import DsaEdgeError
from dsa_edge.examples import Labels, read_examples, read_rows
from dsa_edge.manifest import Manifest, TokenizerInfo, checksum_of
from dsa_edge.runtime._database import store_errors
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._vault import CHECK, Vault, _checksum
from dsa_edge.tokenizer import Tokenizer

__all__ = ["CORPUS", "IDENTITY", "TARGETS"]

CORPUS = Path(__file__).parent / "corpus"
IDENTITY = "f" * 64
LABELS = Labels("{text} It was", ("terrible", "great"))
PLACE = "versions/1/adapter"
EDITS = b"edit "  # begins an input that names changes of a seed instead of spelling out the file
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, 0.5, "", "x", "a", "\x00", "../x", "/x",
    [], [0], [[]], {}, {"x": 1}, {"type": "Sequence"}, {"type": "ByteLevel"}, "a" * 300,
)  # fmt: skip
TEXTS = ("", "warm bread", "<s> é 👩‍👩‍👧\x00", "a" * 99)


def manifest(data: bytes) -> None:
    """A manifest, and the sizes that are computed from it."""
    try:
        read = Manifest.read(_file("manifest.json", _stamped(_edited("manifest", data))))
    except DsaEdgeError:
        return
    assert read.adapter_size == sum(slot.size for slot in read.slots)
    assert 0 <= read.split_layer < read.n_layers
    assert not [name for name in read.files if ".." in name or name.startswith("/")]


def adapter(data: bytes) -> None:
    """An adapter file, read in each of three ways."""
    path, spec = _file("a.safetensors", data), AdapterSpec(rank=2)
    _ours(lambda: read_adapter_info(path))
    _ours(lambda: compatibility(path, IDENTITY, spec, 4))
    loaded = _ours(lambda: load_adapter(path, IDENTITY, 4))
    if isinstance(loaded, Adapter):
        assert np.isfinite(loaded.vector).all()
        assert np.isfinite(loaded.bias(tuple(loaded.labels))).all()


def jsonl(data: bytes) -> None:
    """A file of examples."""
    path = _file("e.jsonl", data)
    _ours(lambda: read_examples(path, LABELS, lambda *_: "chat"))
    _ours(lambda: read_rows(path, LABELS))


def store(data: bytes) -> None:
    """By the first byte: a blob, a blob with a right checksum, or changes of a store's file."""
    kind, rest = data[:1], data[1:]
    if kind == b"f":
        _changed_store(rest)
        return
    blob = _checksum(rest, PLACE) + rest if kind == b"c" else rest
    for vault in (Vault(), _sealing_vault()):
        for unpack in (vault.unpack, vault.unpack_floats):
            _ours(lambda unpack=unpack: _as_store(unpack, blob))  # type: ignore[misc]


def tokenizer(data: bytes) -> None:
    """A tokenizer.json, and texts through it."""
    info = TokenizerInfo("x", None, (), 0, False)
    try:
        made = Tokenizer(_edited("tokenizer", data).decode(errors="replace"), info)
    except DsaEdgeError:
        return
    for text in TEXTS:
        _ours(lambda text=text: "".join(made.stream(made.encode_prompt(text))))  # type: ignore[misc]


TARGETS: dict[str, Callable[[bytes], None]] = {
    made.__name__: made for made in (manifest, adapter, jsonl, store, tokenizer)
}


def _edited(target: str, data: bytes) -> bytes:
    """The bytes as they are, or a JSON seed with some entries replaced: which seed, place, junk."""
    if not data.startswith(EDITS) or len(data) == len(EDITS):
        return data
    which, *edits = data[len(EDITS) :]
    content = json.loads(_seeds(target)[which % len(_seeds(target))])
    for at, junk in list(zip(edits[0::2], edits[1::2], strict=False))[:20]:
        if places := list(_places(content)):
            inner, key = places[at % len(places)]
            inner[key] = copy.deepcopy(JUNK[junk % len(JUNK)])
    return json.dumps(content).encode()


def _stamped(data: bytes) -> bytes:
    """With the checksum that a manifest needs, or the fuzzer would never come past it."""
    try:
        content = json.loads(data)
        return json.dumps({**content, "checksum": checksum_of(content)}).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry below a JSON value, as what holds it and its key."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inner)


@cache
def _seeds(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*.json"))]


def _ours(call: Callable[[], object]) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the norm of absurd numbers overflows
            return call()
    except DsaEdgeError:
        return None


def _as_store(unpack: Callable[[bytes, str], object], blob: bytes) -> object:
    """Unpack as the store does, where what is damaged becomes its error."""
    with store_errors(None):
        return unpack(blob, PLACE)


def _changed_store(changes: bytes) -> None:
    """Three bytes a change: which page and byte, and what to flip."""
    image = bytearray(_image())
    for page, at, flip in zip(changes[0::3], changes[1::3], changes[2::3], strict=False):
        image[(page * 1024 + at * 4 + flip % 4) % len(image)] ^= flip
    for leftover in ("user.db-wal", "user.db-shm"):
        (_folder() / leftover).unlink(missing_ok=True)
    _file("user.db", bytes(image))
    opened = _ours(lambda: Store(_folder(), IDENTITY))
    if isinstance(opened, Store):
        for call in _uses(opened):
            _ours(call)
        opened.close()


def _uses(opened: Store) -> tuple[Callable[[], object], ...]:
    return (
        opened.newest_whole,
        opened.remembered,
        lambda: [opened.journal(run) for run in opened.runs()],
        lambda: opened.start_run(0, 1, {}),
        lambda: opened.add_version(0, Adapter(np.zeros(4, np.float32)), "loaded", 0, {}),
        lambda: opened.rekey(None),
        lambda: opened.forget_examples([opened.example_id("one")]),
        opened.forget,
    )


@cache
def _image() -> bytes:
    """The file of a small store."""
    with tempfile.TemporaryDirectory() as name:
        made = Store(Path(name), IDENTITY)
        run = made.start_run(0, 1, {"queries": 2.0}, [made.example_id("one")])
        made.append(run, Step(0.5, np.ones(2, np.float32)))
        made.remember({made.example_id("one"): "one"})
        made.end_run(run, "improved", (Adapter(np.ones(4, np.float32), {" a": 1.0}), 1, {}))
        made.close()
        return (Path(name) / "user.db").read_bytes()


@cache
def _sealing_vault() -> Vault:
    try:
        return Vault(bytes(32))
    except DsaEdgeError:  # cryptography is not installed
        return Vault()


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dsa-edge-fuzz-")


def _folder() -> Path:
    return Path(_scratch().name)


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


assert CHECK == 8  # what a seed of the corpus that begins with a checksum was made for
