"""Slots, adapter files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsa_edge.adapter import Adapter, AdapterSpec, load_adapter, make_slots, save_adapter
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.kinds import Geometry

SPEC = AdapterSpec(rank=4, targets=("q", "down"), split=0.5)
MODEL = Geometry(n_layers=5, width=8, n_heads=4, n_kv_heads=2, head_dim=2, ffn_width=16)
HERE, ELSEWHERE = "a" * 64, "b" * 64


def test_slots_follow_each_other_layer_by_layer_and_cover_the_vector() -> None:
    slots = make_slots(SPEC, MODEL)
    assert [s.name for s in slots] == [
        f"layers.{layer}.{target}" for layer in (2, 3, 4) for target in ("q", "down")
    ]
    assert [s.offset for s in slots] == [16 * i for i in range(6)]
    assert all(s.shape == (4, 4) for s in slots)


def test_slot_order_does_not_depend_on_the_order_of_targets() -> None:
    turned = AdapterSpec(rank=4, targets=("down", "q"), split=0.5)
    assert make_slots(turned, MODEL) == make_slots(SPEC, MODEL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "prompt"},
        {"rank": -1},
        {"invocation": 0},
        {"split": 1.0},
        {"split": -0.1},
        {"kind": "bias", "targets": ("mlp",)},
        {"kind": "bottleneck", "targets": ("q",)},
        {"targets": ("q", "q")},
        {"targets": ("lm_head",)},
    ],
)
def test_a_contradictory_spec_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        AdapterSpec(**wrong)  # type: ignore[arg-type]


def test_an_adapter_survives_its_file_to_the_bit(tmp_path: Path) -> None:
    vector = np.random.default_rng(0).standard_normal(96).astype(np.float32)
    saved = Adapter(vector, {" great": 0.25, " terrible": -0.25})
    save_adapter(tmp_path / "a.safetensors", saved, HERE, SPEC)
    loaded = load_adapter(tmp_path / "a.safetensors", HERE, 96)
    np.testing.assert_array_equal(loaded.vector, vector)
    assert loaded.labels == saved.labels


def test_an_adapter_of_another_bundle_names_both(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", Adapter(np.zeros(4, np.float32)), ELSEWHERE, SPEC)
    with pytest.raises(AdapterError, match=r"b{12}.*a{12}"):
        load_adapter(tmp_path / "a", HERE, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    save_adapter(tmp_path / "a", Adapter(np.full(4, value, np.float32)), HERE, SPEC)
    with pytest.raises(AdapterError, match="finite"):
        load_adapter(tmp_path / "a", HERE, 4)


def test_a_wrong_size_a_truncated_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a"
    save_adapter(file, Adapter(np.zeros(4, np.float32)), HERE, SPEC)
    with pytest.raises(AdapterError, match="expected 5"):
        load_adapter(file, HERE, 5)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(AdapterError, match="safetensors"):
        load_adapter(file, HERE, 4)
    with pytest.raises(AdapterError, match="no adapter file"):
        load_adapter(tmp_path / "none", HERE, 4)


def test_a_full_disk_leaves_the_old_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    save_adapter(file, Adapter(np.ones(4, np.float32)), HERE, SPEC)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AdapterError, match="No space left"):
        save_adapter(file, Adapter(np.zeros(4, np.float32)), HERE, SPEC)
    assert load_adapter(file, HERE, 4).vector.tolist() == [1, 1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
