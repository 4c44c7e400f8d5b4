"""What is written: the adapter file to the byte, the manifest, and the tree of errors."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dsa_edge.errors as errors
from dsa_edge.adapter import Adapter, AdapterSpec, make_slots, read_adapter_info, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.kinds import Geometry
from dsa_edge.manifest import FileEntry, Manifest

SPEC = AdapterSpec(rank=2, targets=("q",))
VECTOR = np.array([0.0, -1.5, 3.25, 1e-30], dtype=np.float32)


def test_an_adapter_file_is_a_length_a_header_and_the_numbers(tmp_path: Path) -> None:
    """Written by hand here, so that format 1 cannot drift; the header's keys have no order."""
    save_adapter(tmp_path / "a", Adapter(VECTOR, {" great": 0.5}), "c" * 64, SPEC)
    raw = (tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert length % 8 == 0  # the numbers are aligned
    header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    checksum = header["__metadata__"].pop("checksum")
    said = json.dumps(header["__metadata__"], sort_keys=True).encode()
    assert checksum == hashlib.sha256(said + numbers).hexdigest()
    assert header == {
        "__metadata__": {
            "format": "dsa-edge adapter 1",
            "bundle": "c" * 64,
            "spec": '{"kind": "core", "rank": 2, "targets": ["q"], "split": 0.5, "invocation": 1}',
            "labels": '{" great": 0.5}',
        },
        "adapter": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    }
    assert numbers == struct.pack("<4f", *VECTOR.tolist())


def test_an_adapter_file_tells_about_itself(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", Adapter(VECTOR, {" great": 0.5}), "c" * 64, SPEC)
    info = read_adapter_info(tmp_path / "a")
    assert info["bundle"] == "c" * 64
    assert info["numbers"] == 4
    assert info["norm"] == pytest.approx(np.hypot(1.5, 3.25))
    assert info["labels"] == {" great": 0.5}
    assert info["spec"] == {**SPEC.to_dict(), "targets": ["q"]}


@pytest.mark.parametrize(
    ("split", "depth", "first"), [(0.0, 4, 0), (0.5, 5, 2), (0.999, 4, 3), (0.9, 1, 0)]
)
def test_the_split_is_a_share_of_the_depth_and_the_last_layer_always_learns(
    split: float, depth: int, first: int
) -> None:
    spec = AdapterSpec(rank=2, targets=("q", "v"), split=split)
    assert spec.split_layer(depth) == first
    slots = make_slots(spec, Geometry(depth, 8, 4, 2, 2, 16))
    assert len(slots) == 2 * (depth - first)
    assert slots[0].name == f"layers.{first}.q"
    assert slots[-1].name == f"layers.{depth - 1}.v"


def test_a_manifest_survives_its_file(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    manifest.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == manifest
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["identity"] == manifest.identity
    assert written["slots"] == [[s.name, s.offset, list(s.shape)] for s in manifest.slots]
    checksum = written.pop("checksum")
    told = json.dumps(written, sort_keys=True, separators=(",", ":")).encode()
    assert checksum == hashlib.blake2b(told, digest_size=16).hexdigest()


def test_the_identity_is_of_what_adapters_depend_on(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    identity = manifest.identity
    same = (
        replace(manifest, producers={"torch": "99"}),
        replace(manifest, base=replace(manifest.base, name="renamed", licence="mit")),
        replace(manifest, files={**manifest.files, "README.md": FileEntry("0" * 64, 1)}),
    )
    assert {m.identity for m in same} == {identity}
    other = (
        replace(manifest, base=replace(manifest.base, sha256="0" * 64)),
        replace(manifest, base=replace(manifest.base, quantization="int8")),
        replace(manifest, adapter=replace(manifest.adapter, rank=8)),
        replace(manifest, adapter=replace(manifest.adapter, invocation=2)),
        replace(manifest, tokenizer=replace(manifest.tokenizer, sha256="0" * 64)),
    )
    assert len({identity, *(m.identity for m in other)}) == 1 + len(other)


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn, parents = {}, {-1: "Exception"}
    assert errors.__doc__ is not None
    for line in errors.__doc__.split("```")[1].strip().splitlines():
        name = line.lstrip("│├└─ ").split()[0]
        depth = line.index(name) // 4
        drawn[name] = parents[depth - 1]
        parents[depth] = name
    real = {name: getattr(errors, name).__mro__[1].__name__ for name in errors.__all__}
    assert drawn == real
    assert errors.__all__ == sorted(errors.__all__)
