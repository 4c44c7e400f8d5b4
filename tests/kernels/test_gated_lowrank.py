"""The gated sparse op in all its homes: reference, compiled kernel, torch, ONNX function and op."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from one_op import one_op
from onnx import TensorProto

from dsa_edge.errors import EngineError
from dsa_edge.kernels import native_ops, torch_adapter
from dsa_edge.kernels.gated_lowrank import MAX_RANK, gated_lowrank
from dsa_edge.kernels.library import library_path
from dsa_edge.kernels.onnx_function import gated_lowrank_function

Inputs = dict[str, NDArray[Any]]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}  # float32 sums of up to 96 terms of size 1, reordered
needs_kernels = pytest.mark.skipif(
    library_path("dsa_kernels") is None, reason="the kernels are not built: no CMake or compiler"
)


def inputs(
    lanes: int = 2, batch: int = 3, length: int = 4, n_in: int = 40, n_out: int = 24, rank: int = 8,
    blocks: int = 4, chosen: int = 2, diagonal: bool = False, dtype: type = np.float16,
    each: bool = False, shared: bool = False,
) -> Inputs:  # fmt: skip
    random = np.random.default_rng(0)
    cores = lanes * batch if each else lanes
    shape = (cores, blocks, rank) if diagonal else (cores, blocks, rank, rank)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    return {
        "x": normal(lanes, batch, length, n_in) / n_in**0.5,
        "base": normal(lanes, batch, length, n_out),
        "core": normal(*shape) / max(rank, 1) ** 0.5,
        "route_index": random.integers(0, max(blocks, 1), (batch, chosen)),
        "route_weight": normal(batch, chosen),
        "u": normal(1 if shared else blocks, rank, n_out).astype(dtype),
        "v": normal(1 if shared else blocks, n_in, rank).astype(dtype),
        "active": random.random((batch, length)) < 0.7,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "gated": {},
    "one block": {"blocks": 1, "chosen": 1},
    "all blocks": {"chosen": 4},
    "shared factors": {"shared": True},
    "many blocks of shared factors": {"shared": True, "blocks": 9, "chosen": 3, "batch": 40},
    "no block chosen": {"chosen": 0},
    "no blocks": {"blocks": 0, "chosen": 0},
    "no blocks to choose from": {"blocks": 0, "chosen": 2},
    "one row": {"lanes": 1, "batch": 1, "length": 1},
    "many rows": {"lanes": 5, "batch": 19, "length": 3},
    "odd rank": {"rank": 5},
    "rank of one": {"rank": 1},
    "rank above the copied core": {"rank": 70, "n_in": 96, "n_out": 80},
    "odd widths": {"n_in": 33, "n_out": 47, "rank": 16},
    "wide": {"n_in": 576, "n_out": 1536, "rank": 16, "blocks": 8},
    "narrower than a vector": {"n_in": 3, "n_out": 2, "rank": 2},
    "no tokens": {"length": 0},
    "no lanes": {"lanes": 0},
    "float32 factors": {"dtype": np.float32},
    "a core for each example": {"each": True},
    "many rows, each with its core": {"each": True, "lanes": 1, "batch": 57, "length": 3},
    "each its core, one block": {"each": True, "blocks": 1, "chosen": 1, "rank": 16, "n_in": 64},
}
sweep = pytest.mark.parametrize(
    ("name", "diagonal"), list(itertools.product(SHAPES, [False, True]))
)


def dense(given: Inputs) -> NDArray[np.float64]:
    """The formula, block by block as one dense matrix, in float64."""
    u, v, core = (given[k].astype(np.float64) for k in ("u", "v", "core"))
    y = given["base"].astype(np.float64)
    each = len(core) != len(y)
    for lane, b, t in np.ndindex(y.shape[:3]):
        for i, weight in zip(given["route_index"][b], given["route_weight"][b], strict=True):
            if not len(u):
                break
            core_of = core[lane * y.shape[1] + b if each else lane, i]
            c = np.diag(core_of) if core.ndim == 3 else core_of
            own = i if len(u) > 1 else 0
            w = u[own].T @ c @ v[own].T
            y[lane, b, t] += given["active"][b, t] * weight * (w @ given["x"][lane, b, t])
    return y


@sweep
def test_the_reference_is_the_formula(name: str, diagonal: bool) -> None:
    given = inputs(**SHAPES[name], diagonal=diagonal)
    np.testing.assert_allclose(gated_lowrank(**given), dense(given), **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize("isa", native_ops.ISAS)
@sweep
def test_every_instruction_set_equals_the_reference(name: str, diagonal: bool, isa: str) -> None:
    given = inputs(**SHAPES[name], diagonal=diagonal)
    try:
        y = native_ops.gated_lowrank(**given, isa=isa, threads=2)
    except EngineError as error:
        assert "lacks the instruction set" in str(error)
        pytest.skip(f"this machine has no {isa}")
    np.testing.assert_allclose(y, gated_lowrank(**given), **TOLERANCE)


@needs_kernels
def test_strided_inputs_give_the_same_bits_as_whole_ones() -> None:
    given = inputs(n_in=48, n_out=32)
    whole = native_ops.gated_lowrank(**given)
    wide = {k: np.concatenate([given[k], given[k]], -1) for k in ("x", "base")}
    views = {"x": wide["x"][..., :48], "base": wide["base"][..., :32]}
    assert not views["x"].flags.c_contiguous
    np.testing.assert_array_equal(native_ops.gated_lowrank(**given | views), whole)
    turned = {"x": np.ascontiguousarray(given["x"].transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)}
    np.testing.assert_array_equal(native_ops.gated_lowrank(**given | turned), whole)


@needs_kernels
def test_threads_do_not_change_a_bit() -> None:
    given = inputs(lanes=7, batch=30, length=3)
    one = native_ops.gated_lowrank(**given)
    np.testing.assert_array_equal(native_ops.gated_lowrank(**given, threads=3), one)


@needs_kernels
def test_a_broken_lane_stays_alone() -> None:
    given = inputs(lanes=3)
    given["active"][:] = True
    given["core"][1] = np.nan
    y = native_ops.gated_lowrank(**given)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


@needs_kernels
@pytest.mark.parametrize("block", [-1, 4, 2**40])
def test_a_route_to_nowhere_is_refused(block: int) -> None:
    given = inputs()
    given["route_index"][1, 0] = block
    with pytest.raises(EngineError, match="names a block that does not exist: use the gate"):
        native_ops.gated_lowrank(**given)


@needs_kernels
def test_a_rank_beyond_the_scratch_is_refused() -> None:
    given = inputs(rank=MAX_RANK + 1, n_in=8, n_out=8, lanes=1)
    with pytest.raises(EngineError, match="rank is above 512: export"):
        native_ops.gated_lowrank(**given)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("each", [False, True])
def test_the_torch_op_equals_the_reference_and_passes_opcheck(
    diagonal: bool, flat: bool, each: bool
) -> None:
    given = inputs(diagonal=diagonal, each=each)
    expected = gated_lowrank(**given)
    if flat:
        given |= {k: given[k].reshape(-1, given[k].shape[-1]) for k in ("x", "base")}
    tensors = tuple(torch.from_numpy(a) for a in given.values())
    op = torch_adapter.gated_lowrank
    y = op(*tensors)
    np.testing.assert_allclose(y.numpy().reshape(expected.shape), expected, **TOLERANCE)
    torch.library.opcheck(op.default, tensors)
    out = torch.empty_like(y)
    assert op.out(*tensors, out=out) is out
    assert torch.equal(out, y)


def onnx_session(given: Inputs, kernels: bool) -> Any:
    """A model that calls the function; with `kernels` the library's op takes its place."""
    kind = "diagonal" if given["core"].ndim == 3 else "core"
    function = gated_lowrank_function(kind, given["core"].shape[1] != len(given["u"]))
    return one_op("gated_lowrank", given, {"y": (TensorProto.FLOAT, 4)}, function, kernels)


@sweep
def test_the_onnx_function_equals_the_reference(name: str, diagonal: bool) -> None:
    given = inputs(**SHAPES[name], diagonal=diagonal)
    if not given["x"].size or not given["u"].size:
        pytest.skip("standard operators cannot reshape an empty tensor to an unknown axis")
    (y,) = onnx_session(given, kernels=False).run(None, given)
    np.testing.assert_allclose(y, gated_lowrank(**given), **TOLERANCE)


@needs_kernels
@sweep
def test_the_onnx_op_equals_the_kernel_to_the_bit(name: str, diagonal: bool) -> None:
    given = inputs(**SHAPES[name], diagonal=diagonal)
    (y,) = onnx_session(given, kernels=True).run(None, given)
    np.testing.assert_array_equal(y, native_ops.gated_lowrank(**given))


@needs_kernels
def test_the_onnx_op_refuses_what_the_kernel_refuses() -> None:
    given = inputs()
    given["route_index"][0, 0] = 9
    with pytest.raises(Exception, match="names a block that does not exist"):
        onnx_session(given, kernels=True).run(None, given)
    given = inputs()
    given["u"] = given["u"][:, :3]
    with pytest.raises(Exception, match="shapes do not belong together: export"):
        onnx_session(given, kernels=True).run(None, given)
