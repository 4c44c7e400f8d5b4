"""Attention of lanes over shared caches: reference, compiled kernel and torch op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dsa_edge.errors import EngineError
from dsa_edge.kernels import native_ops, torch_adapter
from dsa_edge.kernels.attend import attend
from dsa_edge.kernels.library import library_path

Given = dict[str, Any]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}  # float32 sums of up to 150 terms of size 1, reordered
needs_kernels = pytest.mark.skipif(
    library_path("dsa_kernels") is None, reason="the kernels are not built: no CMake or compiler"
)


def given(
    lanes: int = 3, batch: int = 2, new: int = 3, heads: int = 6, groups: int = 2, dim: int = 16,
    rotated: int = 16, prefix: int = 5, past: int = 7, window: int = 0, softcap: float = 0.0,
    lengths: tuple[int, ...] | None = None,
) -> Given:  # fmt: skip
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    angle = normal(batch, new, rotated // 2)
    angles = np.concatenate([angle, angle], -1)
    return {
        "q": normal(lanes, batch, new, heads, dim),
        "k": normal(lanes, batch, new, groups, dim),
        "v": normal(lanes, batch, new, groups, dim),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
        "prefix_keys": normal(1, groups, prefix, dim).astype(np.float16),
        "prefix_values": normal(1, groups, prefix, dim).astype(np.float16),
        "keys": normal(batch, groups, past, dim).astype(np.float16),
        "values": normal(batch, groups, past, dim).astype(np.float16),
        "lengths": np.array(lengths or random.integers(0, past + 1, batch)),
        "scale": dim**-0.5,
        "softcap": softcap,
        "window": window,
    }


CASES: dict[str, dict[str, Any]] = {
    "all three segments": {},
    "no prefix": {"prefix": 0},
    "no cache": {"past": 0},
    "new tokens alone": {"prefix": 0, "past": 0},
    "whole prompts": {"lanes": 1, "batch": 3, "new": 70, "prefix": 40, "past": 0},
    "one token": {"lanes": 1, "batch": 1, "new": 1, "past": 33, "lengths": (33,)},
    "few rows, odd head": {"lanes": 1, "batch": 2, "new": 2, "past": 40, "dim": 10, "rotated": 6},
    "few rows in a window": {"lanes": 1, "new": 2, "past": 40, "window": 9, "softcap": 2.0},
    "many lanes": {"lanes": 33, "new": 1},
    "long cache": {"past": 100, "lengths": (100, 64)},
    "one head a group": {"heads": 2},
    "one group": {"groups": 1},
    "part of the head rotated": {"rotated": 8},
    "odd head": {"dim": 10, "rotated": 6},
    "wide head": {"dim": 256, "rotated": 256},
    "window": {"window": 4, "new": 6},
    "window that ends in the prefix": {"window": 9, "lengths": (2, 0)},
    "softcap": {"softcap": 2.0},
}
sweep = pytest.mark.parametrize("name", CASES)


def plain(inputs: Given, lane: int, b: int, head: int, row: int) -> NDArray[np.float64]:
    """One row of one head, key by key in float64: softmax over what it may see."""
    groups = inputs["k"].shape[3]
    g = head // (inputs["q"].shape[3] // groups)

    def turned(x: Any, t: int) -> NDArray[np.float64]:
        half = inputs["cos"].shape[-1] // 2
        out = x.astype(np.float64)
        for i in range(half):
            c, s = inputs["cos"][b, t, i], inputs["sin"][b, t, i]
            out[i], out[i + half] = x[i] * c - x[i + half] * s, x[i + half] * c + x[i] * s
        return out

    length = inputs["lengths"][b]
    keys = [*inputs["prefix_keys"][0, g], *inputs["keys"][b, g, :length]]
    keys += [turned(inputs["k"][lane, b, t, g], t) for t in range(row + 1)]
    values = [*inputs["prefix_values"][0, g], *inputs["values"][b, g, :length]]
    values += list(inputs["v"][lane, b, : row + 1, g])
    if inputs["window"]:
        keys, values = keys[-inputs["window"] :], values[-inputs["window"] :]
    q = turned(inputs["q"][lane, b, row, head], row)
    scores = np.array([q @ key.astype(np.float64) for key in keys]) * inputs["scale"]
    if inputs["softcap"]:
        scores = np.tanh(scores / inputs["softcap"]) * inputs["softcap"]
    weights = np.exp(scores - scores.max())
    mixed: NDArray[np.float64] = weights @ np.array(values, dtype=np.float64) / weights.sum()
    return mixed


@sweep
def test_the_reference_is_attention_key_by_key(name: str) -> None:
    inputs = given(**CASES[name])
    y, _ = attend(**inputs)
    lanes, batch, new, heads, dim = inputs["q"].shape
    for lane, b, head, row in {(0, 0, 0, 0), (lanes - 1, batch - 1, heads - 1, new - 1)}:
        own = y.reshape(lanes, batch, new, heads, dim)[lane, b, row, head]
        np.testing.assert_allclose(own, plain(inputs, lane, b, head, row), **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize("isa", native_ops.ISAS)
@sweep
def test_every_instruction_set_equals_the_reference(name: str, isa: str) -> None:
    inputs = given(**CASES[name])
    try:
        y, new_keys = native_ops.attend(**inputs, isa=isa, threads=2)
    except EngineError as error:
        assert "lacks the instruction set" in str(error)
        pytest.skip(f"this machine has no {isa}")
    expected, expected_keys = attend(**inputs)
    np.testing.assert_allclose(y, expected, **TOLERANCE)
    np.testing.assert_allclose(new_keys, expected_keys, rtol=1e-6, atol=1e-6)


@needs_kernels
def test_padding_of_the_cache_is_never_read() -> None:
    inputs = given(past=50, lengths=(3, 17))
    expected, _ = native_ops.attend(**inputs)
    for name in ("keys", "values"):
        inputs[name][0, :, 3:], inputs[name][1, :, 17:] = np.nan, np.inf
    np.testing.assert_array_equal(native_ops.attend(**inputs)[0], expected)


@needs_kernels
def test_a_broken_lane_stays_alone() -> None:
    inputs = given()
    inputs["q"][1] = np.nan
    y, _ = native_ops.attend(**inputs)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


@needs_kernels
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lengths": (8, 1)}, "length is not within its cache"),
        ({"lengths": (0, -1)}, "length is not within its cache"),
        ({"dim": 1024, "rotated": 2}, "wider than 512"),
        ({"dim": 8, "rotated": 16}, "wider than"),
        ({"heads": 5}, "no multiple of the heads of keys"),
    ],
)
def test_bad_calls_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        native_ops.attend(**given(**changed))


@pytest.mark.parametrize("flat", [False, True])
def test_the_torch_op_equals_the_reference_and_passes_opcheck(flat: bool) -> None:
    inputs = given(window=6, softcap=3.0)
    y, new_keys = attend(**inputs)
    if flat:
        inputs |= {k: inputs[k].reshape(-1, *inputs[k].shape[-2:]) for k in ("q", "k", "v")}
    values = tuple(torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in inputs.values())
    mixed, keys = torch_adapter.attend(*values)
    np.testing.assert_allclose(mixed.numpy().reshape(y.shape), y, **TOLERANCE)
    np.testing.assert_allclose(keys.numpy().reshape(new_keys.shape), new_keys, **TOLERANCE)
    torch.library.opcheck(torch_adapter.attend.default, values)
    outs = torch.empty_like(mixed), torch.empty_like(keys)
    torch_adapter.attend.out(*values, y=outs[0], new_keys_out=outs[1])
    assert torch.equal(outs[0], mixed)
    assert torch.equal(outs[1], keys)
