"""Bundles are checked before they are believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manifests import edit_manifest as change

from dsa_edge.bundle import Bundle
from dsa_edge.errors import BundleError

FILES = [
    "adapter.safetensors",
    "onnx/base.onnx_data",
    "onnx/choose.onnx",
    "onnx/decode.onnx",
    "onnx/prefill.onnx",
    "onnx/probe.onnx",
    "tokenizer.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_in_any_file(bundle_copy: Path, name: str) -> None:
    raw = bytearray((bundle_copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle_copy / name).write_bytes(raw)
    with pytest.raises(BundleError, match="changed after the export"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_and_a_shortened_file_are_found(bundle_copy: Path, name: str) -> None:
    file = bundle_copy / name
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    with pytest.raises(BundleError, match=r"manifest says"):
        Bundle.open(bundle_copy, check_hashes=False)
    file.unlink()
    with pytest.raises(BundleError, match="lacks its file"):
        Bundle.open(bundle_copy, check_hashes=False)


def test_another_schema_version_is_refused_with_both(bundle_copy: Path) -> None:
    change(bundle_copy / "manifest.json", lambda m: m.update(schema=99))
    with pytest.raises(BundleError, match=r"99.*version 2"):
        Bundle.open(bundle_copy)


def test_an_edited_adapter_layout_is_found(bundle_copy: Path) -> None:
    change(bundle_copy / "manifest.json", lambda m: m["adapter"].update(rank=8))
    with pytest.raises(BundleError, match="identity"):
        Bundle.open(bundle_copy)


def test_a_manifest_that_was_edited_or_has_no_checksum_is_refused(bundle_copy: Path) -> None:
    file = bundle_copy / "manifest.json"
    told = json.loads(file.read_text())
    edits = ({"producers": {}}, {"checksum": None}, {"checksum": "0" * 32}, {"note": "new"})
    for edit in edits:
        file.write_text(json.dumps({**told, **edit}))
        with pytest.raises(BundleError, match="does not match its own checksum, or has none"):
            Bundle.open(bundle_copy)
    file.write_text(json.dumps(told, indent=4, sort_keys=True))  # spelled otherwise, it is the same
    assert Bundle.open(bundle_copy).identity == told["identity"]


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "..\\evil", ""])
def test_a_path_that_leaves_the_bundle_is_refused(bundle_copy: Path, path: str) -> None:
    def edit(manifest: Any) -> None:
        manifest["files"][path] = manifest["files"].pop("tokenizer.json")

    change(bundle_copy / "manifest.json", edit)
    with pytest.raises(BundleError, match="not a valid manifest"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"schema": 1}', "\udcff"])
def test_a_manifest_that_is_none_is_refused(bundle_copy: Path, content: str) -> None:
    (bundle_copy / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    "key", ["base", "decoder", "adapter", "tokenizer", "methods", "files", "golden"]
)
@pytest.mark.parametrize("value", [None, 3, [], "x", {"n_layers": 10**12}])
def test_fields_of_the_wrong_kind_are_refused(bundle_copy: Path, key: str, value: object) -> None:
    change(bundle_copy / "manifest.json", lambda m: m.update({key: value}))
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy, check_hashes=False)


def test_a_huge_manifest_is_not_parsed(bundle_copy: Path) -> None:
    with (bundle_copy / "manifest.json").open("ab") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(BundleError, match="larger than"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_a_text_that_is_not_utf8_is_refused(bundle_copy: Path, name: str) -> None:
    bundle = Bundle.open(bundle_copy)
    (bundle_copy / name).write_bytes(b'{"model": "\xff"}')
    with pytest.raises(BundleError, match=rf"{name} is not UTF-8 \(byte 12\): copy or export"):
        bundle.read_text(name)
    assert bundle.read_text("none") is None


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="no bundle at"):
        Bundle.open(tmp_path / "none")
