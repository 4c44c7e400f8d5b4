"""Anything at all in the place of a file or a text: an answer, or an error of ours."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_targets import CORPUS, TARGETS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manifests import write_manifest
from stub import StubEngine
from tiny import SPECIAL, train_tokenizer

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError, ExampleError, StoreError
from dsa_edge.examples import Example
from dsa_edge.manifest import Manifest, TokenizerInfo
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._database import store_errors
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._vault import Vault
from dsa_edge.tokenizer import Tokenizer

KEYS = st.sampled_from(
    ["schema", "base", "decoder", "adapter", "tokenizer", "files", "methods", "model", "type"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=300))
@example(data=b"")
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_answer_or_our_error(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", ["manifest", "tokenizer"])
@given(content=JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_an_answer_or_our_error(target: str, content: Any) -> None:
    TARGETS[target](json.dumps(content).encode())
    if isinstance(content, dict):
        TARGETS[target](json.dumps({**content, "schema": 2, "version": "1.0"}).encode())


@pytest.mark.parametrize("key", [None, bytes(32)], ids=["plain", "sealed"])
@given(data=st.binary(max_size=200), place=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_a_blob_comes_back_whole_and_at_its_own_place_alone(
    key: bytes | None, data: bytes, place: str
) -> None:
    if key:
        pytest.importorskip("cryptography", reason="the package cryptography is not installed")
    vault = Vault(key)
    blob = vault.pack(data, place)
    assert vault.unpack(blob, place) == data
    for wrong in (blob[:-1], blob + b"x", blob[:8], b"", bytes(len(blob))):
        with pytest.raises(StoreError), store_errors(None):
            vault.unpack(wrong, place)
    with pytest.raises(StoreError), store_errors(None):
        vault.unpack(blob, "x" + place)


OUTSIDE = ("../evil", "/etc/passwd", "a/../../b", "..\\evil", "", ".", "C:\\x")


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("part", ["method", "program", "data", "ends", "factors", "table"])
def test_no_part_of_a_manifest_names_a_file_outside(tmp_path: Path, part: str, path: str) -> None:
    content = json.loads((CORPUS / "manifest" / "programs.json").read_text())
    programs = content["executorch"]
    if part == "method":
        content["methods"]["probe"][0] = path
    elif part in ("program", "data"):
        programs["layers"][1][part] = path
    elif part == "table":
        programs["embedding"]["file"] = path
    else:
        programs[part] = path
    write_manifest(tmp_path / "manifest.json", content)
    with pytest.raises(BundleError, match="leaves the bundle"):
        Manifest.read(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    "name", ["a" * 300, "a/" * 3000 + "b", "a\x00b", "\ud800", "tokenizer.json/x"],
    ids=["long", "deep", "NUL", "half a character", "below a file"],
)  # fmt: skip
def test_names_that_no_file_can_have_are_refused(bundle_copy: Path, name: str) -> None:
    content = json.loads((bundle_copy / "manifest.json").read_text())
    content["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    write_manifest(bundle_copy / "manifest.json", content)
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy)


def test_a_link_is_followed_to_a_file_of_the_listed_hash_alone(
    bundle_copy: Path, tmp_path: Path
) -> None:
    file, outside = bundle_copy / "tokenizer.json", tmp_path / "outside"
    shutil.move(file, outside)
    file.symlink_to(outside)
    Bundle.open(bundle_copy)
    outside.write_bytes(outside.read_bytes()[:-1] + b" ")
    with pytest.raises(BundleError, match="changed after the export"):
        Bundle.open(bundle_copy)
    for target in (file, tmp_path, Path("/dev/zero"), tmp_path / "nothing"):  # the first is a loop
        file.unlink()
        file.symlink_to(target)
        with pytest.raises(BundleError, match=r"lacks its file tokenizer\.json"):
            Bundle.open(bundle_copy)
    file.unlink()
    os.mkfifo(file)  # reading it would wait for ever
    with pytest.raises(BundleError, match=r"lacks its file tokenizer\.json"):
        Bundle.open(bundle_copy)


def test_a_hundred_thousand_tokens_are_refused_by_number(bundle: Path) -> None:
    engine, many = StubEngine(bundle), "é" * 50_000
    with Personalizer(engine, Store(None, engine.bundle.identity)) as me:
        assert len(me.encode(many)) == 100_000
        example = Example(many, " a", (" a", " b"))
        free = Example("short", many)
        for call in (
            lambda: me.fit([example, free], Budget(steps=1)),
            lambda: me.evaluate([example]),
            lambda: me.evaluate([free]),
            lambda: me.choose(many, (" a", " b")),
            lambda: me.generate(many),
        ):
            with pytest.raises(ExampleError, match=r"100,?00\d tokens"):
                call()
        assert not np.any(me.adapter.vector)


@pytest.mark.parametrize("special", SPECIAL)
def test_special_tokens_that_a_user_types_stay_text(special: str) -> None:
    made = Tokenizer(train_tokenizer().to_str(), TokenizerInfo("x", 0, (1,), 2, True))
    ids = made.encode(f"they wrote {special} here")
    assert not set(ids) & {0, 1, 2}
    assert made.decode(ids) == f"they wrote {special} here"
