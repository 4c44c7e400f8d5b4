"""The file of a learned start: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import AdapterError, UsageError
from dsa_edge.gate import Gate
from dsa_edge.start import (
    Start,
    load_directions,
    load_start,
    save_directions,
    save_start,
    start_info,
)

SIZE = 12


def start(**changes: Any) -> Start:
    random = np.random.default_rng(0)
    made = Start(
        random.standard_normal(SIZE).astype(np.float32),
        random.standard_normal((3, SIZE)).astype(np.float16),
        "a" * 64, AdapterSpec(rank=4, targets=("q", "v")), "b" * 64, 5,
    )  # fmt: skip
    return replace(made, **changes)


def test_a_start_is_read_as_it_was_written(tmp_path: Path) -> None:
    gate = Gate(np.ones((2, 3), np.float32), np.zeros(2, np.float32), (4, 1))
    for made in (start(), start(gate=gate), start(directions=np.zeros((0, SIZE), np.float16))):
        save_start(tmp_path / "s.safetensors", made)
        read = load_start(tmp_path / "s.safetensors")
        np.testing.assert_array_equal(read.vector, made.vector)
        np.testing.assert_array_equal(read.directions, made.directions)
        assert (read.identity, read.spec, read.base, read.users) == (
            "a" * 64,
            made.spec,
            "b" * 64,
            5,
        )
        assert read.id == made.id
        assert (read.gate is None) == (made.gate is None)
        told = start_info(tmp_path / "s.safetensors")
        assert told is not None
        assert told["directions"] == len(made.directions)


def test_the_id_hangs_on_every_number() -> None:
    moved = start().vector.copy()
    moved[-1] += 1
    turned = start().directions.copy()
    turned[0, 0] += np.float16(1)
    assert len({start().id, start(vector=moved).id, start(directions=turned).id}) == 3


@pytest.mark.parametrize("at", [200, -3])
def test_a_changed_byte_is_found(tmp_path: Path, at: int) -> None:
    file = tmp_path / "s.safetensors"
    save_start(file, start())
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(AdapterError, match=r"damaged|cannot be read|no start"):
        load_start(file)


def test_what_is_no_start_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    with pytest.raises(AdapterError, match="no file"):
        load_start(file)
    file.write_bytes(b"no tensors")
    with pytest.raises(AdapterError, match="cannot be read as safetensors"):
        load_start(file)
    save_file({"adapter": np.zeros(3, np.float32)}, file, {"format": "dsa-edge adapter 1"})
    with pytest.raises(AdapterError, match="is no start of dsa-edge"):
        load_start(file)
    assert start_info(file) is None
    nothing = start()
    save_directions(file, nothing.directions)
    with pytest.raises(AdapterError, match="is no start of dsa-edge"):
        load_start(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vector": np.zeros((2, 6), np.float32)},
        {"vector": np.zeros(SIZE, np.float64)},
        {"directions": np.zeros((3, SIZE - 1), np.float16)},
        {"directions": np.zeros((3, SIZE), np.float32)},
        {"vector": np.full(SIZE, np.nan, np.float32)},
        {"directions": np.full((1, SIZE), np.inf, np.float16)},
    ],
)
def test_numbers_that_cannot_be_a_start_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"a start has|not all numbers"):
        start(**wrong)


def test_another_layout_base_or_bundle_is_refused_in_a_sentence() -> None:
    made = start()
    made.check_spec(made.spec, made.base, SIZE)
    made.check(made.identity)
    with pytest.raises(AdapterError, match="learned for an adapter of rank 4, this one has 8"):
        made.check_spec(replace(made.spec, rank=8), made.base, SIZE)
    with pytest.raises(AdapterError, match=r"learned on base bbbbbbbbbbbb…, this one is cccc"):
        made.check_spec(made.spec, "c" * 64, SIZE)
    with pytest.raises(AdapterError, match="has 12 numbers, this adapter has 13"):
        made.check_spec(made.spec, made.base, 13)
    with pytest.raises(AdapterError, match="quantize and prune as there"):
        made.check("d" * 64)


def test_directions_of_another_bundle_or_fewer_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "directions.safetensors"
    save_directions(file, start().directions)
    np.testing.assert_array_equal(load_directions(file, 2, SIZE), start().directions[:2])
    for count, size in ((4, SIZE), (3, SIZE + 1)):
        with pytest.raises(AdapterError, match="export the bundle again"):
            load_directions(file, count, size)
