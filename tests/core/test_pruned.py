"""The keep-index manifest: read back as written, refused where it contradicts, told in a word."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import edit_manifest, write_manifest

from dsa_edge.adapter import Adapter, AdapterSpec, compatibility, load_adapter, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, BundleError
from dsa_edge.manifest import Manifest
from dsa_edge.pruned import Pruned

# The tiny bundle has 2 KV groups and 96 neurons in each of 3 layers; before, say, one more each.
PRUNED = Pruned(
    0.25, "learned", 3, 128, ((0, 2), (1, 2), (0, 1)), ((0, 1, 3), (1, 2, 3), (0, 1, 2)),
    ("q", "k", "v"), {"layers.1.q": (0, 3), "layers.2.q": (1, 2)},
)  # fmt: skip
SPEC = AdapterSpec(rank=4, targets=("q",))
WHOLE, THIN = "a" * 64, "b" * 64


def test_what_was_pruned_survives_the_manifest_and_is_part_of_the_identity(
    bundle_copy: Path,
) -> None:
    file = bundle_copy / "manifest.json"
    before = Manifest.read(file)
    made = replace(before, pruned=PRUNED)
    made.write(file)
    read = Manifest.read(file)
    assert read.pruned == PRUNED
    assert read.identity == made.identity != before.identity
    others = replace(PRUNED, kv_groups=((0, 1), (1, 2), (0, 1)))
    assert replace(before, pruned=others).identity != made.identity


def test_manifests_of_whole_bases_do_not_speak_of_pruning(bundle: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    assert "pruned" not in content  # so bundles from before are the same bytes
    assert Manifest.read(bundle / "manifest.json").pruned is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 1.5}, {"share": None}, {"n_kv_heads": 0}, {"n_kv_heads": 2.0},
        {"ffn_width": 2**40}, {"kv_groups": [[0, 1]]}, {"kv_groups": [[0, 3]] * 3},
        {"kv_groups": [[0, 1]] * 2 + [[0]]}, {"kv_groups": [[1, 0]] * 3},
        {"kv_groups": [[0, 0]] * 3}, {"kv_groups": [[]] * 3}, {"kv_groups": "012"},
        {"ffn_blocks": [[0, 1, 4]] * 3}, {"ffn_blocks": [[0, 1]] * 3},
        {"ffn_blocks": [[-1, 1, 2]] * 3}, {"ffn_blocks": [[True, 2, 3]] * 3},
        {"targets": ["head"]}, {"directions": {"layers.1.q": []}}, {"directions": [1]},
    ],
)  # fmt: skip
def test_kept_indices_that_cannot_be_are_refused(bundle_copy: Path, wrong: dict[str, Any]) -> None:
    file = bundle_copy / "manifest.json"
    entry = json.loads(json.dumps(asdict(PRUNED)))
    content = json.loads(file.read_text())
    content["pruned"] = {**entry, **wrong}
    write_manifest(file, content)
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy)
    edit_manifest(file, lambda content: content.update(pruned=[]))
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    ("saved", "opened", "got", "expected"),
    [
        (None, PRUNED, "a base that is not pruned", "a base pruned by 25.0%"),
        (PRUNED, None, "a base pruned by 25.0%", "a base that is not pruned"),
        (PRUNED, replace(PRUNED, share=0.4), "pruned by 25.0%", "pruned by 40.0%"),
    ],
)
def test_an_adapter_of_another_base_is_refused_with_both_named(
    tmp_path: Path, saved: Pruned | None, opened: Pruned | None, got: str, expected: str
) -> None:
    file = tmp_path / "me.safetensors"
    adapter = Adapter(np.ones(48, np.float32))
    save_adapter(file, adapter, WHOLE, SPEC, saved)
    np.testing.assert_array_equal(load_adapter(file, WHOLE, 48, saved).vector, adapter.vector)
    with pytest.raises(AdapterError) as told:
        load_adapter(file, THIN, 48, opened)
    text = str(told.value)
    assert text.index(got) < text.index("this bundle has") < text.index(expected)
    assert "train again" in text
    (reason,) = compatibility(file, THIN, SPEC, 48, opened)
    assert got in reason
    assert expected in reason


def test_equally_pruned_bases_of_different_models_are_not_mistaken(tmp_path: Path) -> None:
    file = tmp_path / "me.safetensors"
    save_adapter(file, Adapter(np.ones(48, np.float32)), WHOLE, SPEC, PRUNED)
    with pytest.raises(AdapterError, match="was trained on bundle aaaa"):
        load_adapter(file, THIN, 48, PRUNED)
