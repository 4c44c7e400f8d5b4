"""Gates, their routes, and what they add to layouts and adapter files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dsa_edge.adapter import Adapter, compatibility, load_adapter, read_adapter_info, save_adapter
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.gate import Gate
from dsa_edge.kinds import Geometry
from dsa_edge.layout import AdapterSpec, make_slots

SPEC = AdapterSpec(rank=2, targets=("q",), blocks=3)
VECTOR = np.arange(12, dtype=np.float32)
IDENTITY = "a" * 64
RANDOM = np.random.default_rng(0)


def gate(blocks: int = 3, width: int = 5) -> Gate:
    weight = RANDOM.standard_normal((blocks, width)).astype(np.float32)
    return Gate(weight, np.zeros(blocks, np.float32), tuple(range(blocks)))


def test_the_best_blocks_serve_and_count_alike() -> None:
    made = Gate(np.eye(4, dtype=np.float32), np.array([0, 0, 0, 10], np.float32))
    pooled = np.array([[1, 2, 3, 0], [9, 0, 8, -20]], dtype=np.float32)
    route = made.route(pooled, 2)
    assert route.index.tolist() == [[3, 2], [0, 2]]
    assert route.weight.tolist() == [[0.5, 0.5]] * 2
    assert route.served(4) == (1, 0, 2, 1)


@pytest.mark.parametrize("width", [1, 7, 576])
def test_equal_scores_go_to_the_lower_index_in_any_company(width: int) -> None:
    row = RANDOM.standard_normal(width).astype(np.float32)
    made = Gate(np.tile(row, (9, 1)), np.zeros(9, np.float32))
    pooled = RANDOM.standard_normal((70, width)).astype(np.float32)
    assert made.route(pooled, 3).index.tolist() == [[0, 1, 2]] * 70
    mixed = gate(9, width)
    together = mixed.route(pooled, 2).index
    alone = np.concatenate([mixed.route(pooled[i : i + 1], 2).index for i in range(70)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": 0},
        {"active": 0},
        {"blocks": 2, "active": 3},
        {"blocks": 1000},
        {"blocks": -1},
        {"blocks": 2.0},
        {"blocks": True, "active": True},
    ],
)
def test_impossible_numbers_of_blocks_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="blocks are active, expected 1 ≤ active ≤ blocks ≤ 256"):
        AdapterSpec(**wrong)


def test_kinds_without_routes_have_one_block() -> None:
    with pytest.raises(UsageError, match="blocks is 2 for lora, expected 1, for only core, diag"):
        AdapterSpec("lora", blocks=2)


def test_each_block_has_a_slot_behind_the_other_of_its_target() -> None:
    geometry = Geometry(2, 8, 4, 2, 2, 16)
    slots = make_slots(AdapterSpec(rank=2, targets=("v", "q"), blocks=2), geometry)
    assert [slot.name for slot in slots] == [f"layers.1.{t}.{b}" for t in "qv" for b in "01"]
    assert [slot.offset for slot in slots] == [0, 4, 8, 12]
    assert {slot.shape for slot in slots} == {(2, 2)}


def test_one_block_tells_nothing_of_blocks() -> None:
    assert "blocks" not in AdapterSpec().to_dict()
    assert AdapterSpec(**AdapterSpec().to_dict()) == AdapterSpec()
    assert AdapterSpec(**SPEC.to_dict()) == SPEC


def test_a_saved_adapter_carries_its_gate(tmp_path: Path) -> None:
    made = gate()
    save_adapter(tmp_path / "a", Adapter(VECTOR, {}, made), IDENTITY, SPEC)
    loaded = load_adapter(tmp_path / "a", IDENTITY, 12, gate=(3, 5)).gate
    assert loaded is not None
    np.testing.assert_array_equal(loaded.table, made.table)
    assert loaded.served == (0, 1, 2)
    info = read_adapter_info(tmp_path / "a")
    assert (info["gate"], info["served"]) == ([3, 5], [0, 1, 2])
    assert compatibility(tmp_path / "a", IDENTITY, SPEC, 12) == ()
    ungated = AdapterSpec(rank=2, targets=("q",))
    reasons = compatibility(tmp_path / "a", IDENTITY, ungated, 12)
    assert reasons == ("blocks is 3, this bundle's is 1",)


@pytest.mark.parametrize("wanted", [(4, 5), (3, 6), None])
def test_a_gate_of_another_bundle_is_refused(
    tmp_path: Path, wanted: tuple[int, int] | None
) -> None:
    save_adapter(tmp_path / "a", Adapter(VECTOR, {}, gate()), IDENTITY, SPEC)
    with pytest.raises(AdapterError, match="has a gate of 3 blocks over 5 numbers, this bundle"):
        load_adapter(tmp_path / "a", IDENTITY, 12, gate=wanted)


def test_blocks_that_learned_need_a_gate_and_others_do_not(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", Adapter(VECTOR), IDENTITY, SPEC)
    with pytest.raises(AdapterError, match="has no gate, this bundle wants a gate of 3 blocks"):
        load_adapter(tmp_path / "a", IDENTITY, 12, gate=(3, 5))
    save_adapter(tmp_path / "b", Adapter(np.zeros(12, np.float32)), IDENTITY, SPEC)
    assert load_adapter(tmp_path / "b", IDENTITY, 12, gate=(3, 5)).gate is None


@pytest.mark.parametrize(
    ("table", "served"),
    [
        (np.full((3, 6), np.nan, np.float32), "[0, 1, 2]"),
        (np.zeros((3, 6), np.float64), "[0, 1, 2]"),
        (np.zeros((18,), np.float32), "[0, 1, 2]"),
        (np.zeros((0, 6), np.float32), "[]"),
        (np.zeros((3, 6), np.float32), "[0, 1]"),
        (np.zeros((3, 6), np.float32), '["many", null, 1e999]'),
        (np.zeros((3, 6), np.float32), "[" * 100_000),
        (np.zeros((3, 6), np.float32), "no JSON"),
        (np.zeros((3, 6), np.float32), "7"),
    ],
)
def test_a_strange_gate_is_refused_in_a_sentence(
    tmp_path: Path, table: np.ndarray, served: str
) -> None:
    save_adapter(tmp_path / "a", Adapter(VECTOR, {}, gate()), IDENTITY, SPEC)
    metadata = {"format": "dsa-edge adapter 1", "bundle": IDENTITY, "served": served}
    save_file({**load_file(tmp_path / "a"), "gate": table}, tmp_path / "b", metadata)
    for read in (
        lambda: load_adapter(tmp_path / "b", IDENTITY, 12, gate=(3, 5)),
        lambda: read_adapter_info(tmp_path / "b"),
    ):
        with pytest.raises(AdapterError, match="unreadable gate .*: save the adapter again"):
            read()


def test_a_flipped_bit_of_the_gate_is_found(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", Adapter(VECTOR, {}, gate()), IDENTITY, SPEC)
    raw = bytearray((tmp_path / "a").read_bytes())
    raw[-3] ^= 1  # of the gate, which comes last
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(AdapterError, match="damaged after it was saved"):
        load_adapter(tmp_path / "a", IDENTITY, 12, gate=(3, 5))
