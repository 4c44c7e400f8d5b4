"""Adapter files made to break the reader: each is one AdapterError, none is believed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_edge.adapter import Adapter, AdapterSpec, load_adapter, read_adapter_info, save_adapter
from dsa_edge.errors import AdapterError, EngineError
from dsa_edge.runtime import Example, Personalizer, Sampling

OURS = {"format": "dsa-edge adapter 1", "bundle": "me"}
F32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
ZEROS = bytes(16)


def file(header: object, data: bytes = ZEROS, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(data: bytes = ZEROS, metadata: dict[str, str] | None = None, **entry: Any) -> bytes:
    header = {"__metadata__": {**OURS, **(metadata or {})}, "adapter": {**F32, **entry}}
    return file(header, data)


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\x00" * 7,
    "a header of 4 exabytes": file({"adapter": F32}, length=2**62),
    "a header longer than the file": file({"adapter": F32}, length=500),
    "no header": file(b""),
    "a header that is no JSON": file(b"{{{{"),
    "a header of another language": file(b"\xff\xfe" * 8),
    "nested without end": file(b"[" * 50_000),
    "no tensor": file({"__metadata__": OURS}, b""),
    "another tensor": file({"__metadata__": OURS, "weights": F32}),
    "another format": tensor(metadata={"format": "dsa-edge adapter 2"}),
    "metadata that is no text": file({"__metadata__": {"format": 1}, "adapter": F32}),
    "too few bytes": tensor(bytes(12)),
    "bytes behind the end": tensor(bytes(20)),
    "offsets behind the end": tensor(data_offsets=[16, 32]),
    "negative offsets": tensor(data_offsets=[-16, 0]),
    "turned offsets": tensor(data_offsets=[16, 0]),
    "a shape that overflows": tensor(shape=[2**40, 2**40]),
    "a huge shape": tensor(shape=[2**61]),
    "a negative shape": tensor(shape=[-4]),
    "a matrix": tensor(shape=[2, 2]),
    "too many numbers": tensor(bytes(20), shape=[5], data_offsets=[0, 20]),
    "no numbers": tensor(b"", shape=[0], data_offsets=[0, 0]),
    "float64": tensor(bytes(32), dtype="F64", data_offsets=[0, 32]),
    "int32": tensor(dtype="I32"),
    "bfloat16, which numpy lacks": tensor(bytes(8), dtype="BF16", data_offsets=[0, 8]),
    "float8, which numpy lacks": tensor(bytes(4), dtype="F8_E4M3", data_offsets=[0, 4]),
    "a type that does not exist": tensor(dtype="F33"),
    "not a number": tensor(struct.pack("<4f", 0, 0, float("nan"), 0)),
    "infinite": tensor(struct.pack("<4f", 0, float("-inf"), 0, 0)),
    "label biases that are a list": tensor(metadata={"labels": "[]"}),
    "label biases that are no JSON": tensor(metadata={"labels": "{"}),
    "a label bias that is text": tensor(metadata={"labels": '{"a": "x"}'}),
    "a label bias that is no number": tensor(metadata={"labels": '{"a": NaN}'}),
    "an infinite label bias": tensor(metadata={"labels": '{"a": 1e999}'}),
    "a label bias of 400 digits": tensor(metadata={"labels": f'{{"a": {"9" * 400}}}'}),
    "a label bias of 5,000 digits": tensor(metadata={"labels": f'{{"a": {"9" * 5000}}}'}),
    "label biases nested without end": tensor(metadata={"labels": "[" * 50_000}),
}


def test_the_maker_of_these_files_can_make_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tensor(metadata={"labels": '{"a": 1}'}))
    assert load_adapter(tmp_path / "a", "me", 4).labels == {"a": 1.0}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_adapter_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(AdapterError, match=r"hostile\.safetensors .*[.?]$"):
        load_adapter(path, "me", 4)


@pytest.mark.parametrize("name", HOSTILE)
def test_inspecting_a_hostile_adapter_is_safe(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    try:
        info = read_adapter_info(path)
    except AdapterError:
        return
    assert info["format"] == OURS["format"]  # readable, though of no bundle that asks for it


@pytest.mark.parametrize("spec", ["{", "[" * 50_000, "9" * 5000])
def test_a_layout_that_cannot_be_read_is_refused(tmp_path: Path, spec: str) -> None:
    (tmp_path / "a").write_bytes(tensor(metadata={"spec": spec}))
    with pytest.raises(AdapterError, match="layout"):
        read_adapter_info(tmp_path / "a")


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(2**30)  # sparse
    with pytest.raises(AdapterError, match="too large"):
        load_adapter(tmp_path / "a", "me", 4)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_changed_bytes_give_an_adapter_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    save_adapter(path, Adapter(np.ones(4, np.float32), {" a": 1.0}), "me", AdapterSpec(rank=2))
    raw = bytearray(path.read_bytes())
    for at, value in changes:
        raw[at % len(raw)] = value
    path.write_bytes(raw)
    for read in (lambda: load_adapter(path, "me", 4), lambda: read_adapter_info(path)):
        try:
            read()
        except AdapterError as error:
            assert str(path) in str(error)


def test_finite_but_absurd_numbers_are_an_error_and_not_an_answer(
    bundle: Path, tmp_path: Path
) -> None:
    """1e30 passes every check of the file, and overflows inside the model."""
    with Personalizer.open(bundle) as me:
        manifest = me.bundle.manifest
        vector = np.full(manifest.adapter_size, 1e30, np.float32)
        save_adapter(tmp_path / "a", Adapter(vector), me.bundle.identity, manifest.adapter)
        plain = me.generate("He did", 4)
        assert me.load_adapter(tmp_path / "a") == 1
        for call in (
            lambda: me.generate("He did", 4),
            lambda: me.generate("He did", 4, Sampling(1.0)),
            lambda: me.choose("He did", (" a", " b")),
            lambda: me.choose("He did", (" the quiet", " b")),
        ):
            with pytest.raises(EngineError, match="not a number: go back"):
                call()
        (absurd,) = me.evaluate([Example("He did", " a", (" a", " b"))])
        assert absurd.accuracy == 0  # no answer is not a right answer
        me.rollback(0)
        assert me.generate("He did", 4) == plain
