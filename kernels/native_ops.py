"""The compiled ops on numpy arrays, through the C interface of `libdsa_kernels`.

What the tests hold against the references and what the kernel benchmark times; engines load their
own libraries instead. Arguments and results are those of `gated_lowrank.py`,
`attend.py` and `lane_linear.py`.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_edge.errors import EngineError
from dsa_edge.kernels.library import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["ISAS", "attend", "gated_lowrank", "lane_linear"]

ISAS = ("best", "baseline", "avx2", "avx512", "neon")  # in the order of dsa::Isa


class _GatedLowrank(ctypes.Structure):
    _fields_ = (  # must match dsa::GatedLowrank
        *((name, ctypes.c_int64) for name in (
            "lanes", "batch", "length", "n_in", "n_out", "rank", "blocks", "factors", "chosen")),
        ("diagonal", ctypes.c_bool), ("half", ctypes.c_bool), ("each", ctypes.c_bool),
        ("x", ctypes.c_void_p), ("x_strides", ctypes.c_int64 * 3),
        ("base", ctypes.c_void_p), ("base_strides", ctypes.c_int64 * 3),
        *((name, ctypes.c_void_p) for name in (
            "core", "route_index", "route_weight", "u", "v", "active", "y")),
    )  # fmt: skip


class _Attend(ctypes.Structure):
    _fields_ = (  # must match dsa::Attend
        *((name, ctypes.c_int64) for name in (
            "lanes", "batch", "length", "heads", "kv_heads", "dim", "rotated", "prefix", "past")),
        ("scale", ctypes.c_float), ("softcap", ctypes.c_float), ("window", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (
            "q", "k", "v", "cos", "sin", "prefix_keys", "prefix_values", "keys", "values",
            "lengths", "y", "new_keys")),
    )  # fmt: skip


class _LaneLinear(ctypes.Structure):
    _fields_ = (  # must match dsa::LaneLinear
        *((name, ctypes.c_int64) for name in ("lanes", "rows", "n_in", "n_out")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "y")),
    )  # fmt: skip


def gated_lowrank(
    x: Array, base: Array, core: Array, route_index: Array, route_weight: Array, u: Array,
    v: Array, active: Array, isa: str = "best", threads: int = 1,
) -> NDArray[np.float32]:  # fmt: skip
    """The kernel; x and base may be strided along all axes but the last.

    Raises EngineError when the library is missing or refuses the call.
    """
    x, base = _last_contiguous(x), _last_contiguous(base)
    core, route_weight = _float(core), _float(route_weight)
    route_index = np.ascontiguousarray(route_index, np.int64)
    active = np.ascontiguousarray(active, np.bool_)
    half = v.dtype == np.float16
    u, v = np.ascontiguousarray(u), np.ascontiguousarray(v)
    y = np.empty(base.shape, dtype=np.float32)
    call = _GatedLowrank(
        *x.shape, base.shape[3], v.shape[2], core.shape[1], len(v), route_index.shape[1],
        core.ndim == 3, half, len(core) != len(x),
        x.ctypes.data, _strides(x), base.ctypes.data, _strides(base),
        *(a.ctypes.data for a in (core, route_index, route_weight, u, v, active, y)),
    )  # fmt: skip
    _run("dsa_gated_lowrank", call, isa, threads)
    return y


def attend(
    q: Array, k: Array, v: Array, cos: Array, sin: Array, prefix_keys: Array,
    prefix_values: Array, keys: Array, values: Array, lengths: Array, scale: float,
    softcap: float = 0.0, window: int = 0, isa: str = "best", threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """The kernel.

    Raises EngineError when the library is missing or refuses the call.
    """
    floats: list[Array] = [_float(a) for a in (q, k, v, cos, sin)]
    caches: list[Array] = [
        np.ascontiguousarray(a, np.float16) for a in (prefix_keys, prefix_values, keys, values)
    ]
    lengths = np.ascontiguousarray(lengths, np.int64)
    lanes, batch, new, heads, dim = q.shape
    y = np.empty((lanes, batch, new, heads * dim), dtype=np.float32)
    new_keys = np.empty(k.shape, dtype=np.float32)
    call = _Attend(
        lanes, batch, new, heads, k.shape[3], dim, cos.shape[-1], prefix_keys.shape[2],
        keys.shape[2], scale, softcap, window,
        *(a.ctypes.data for a in (*floats, *caches, lengths, y, new_keys)),
    )  # fmt: skip
    _run("dsa_attend", call, isa, threads)
    return y, new_keys


def lane_linear(
    x: Array, weight: Array, isa: str = "best", threads: int = 1
) -> NDArray[np.float32]:
    """The kernel.

    Raises EngineError when the library is missing or refuses the call.
    """
    x, weight = _float(x), _float(weight)
    lanes, n_out, n_in = weight.shape
    y = np.empty((len(x), n_out), dtype=np.float32)
    call = _LaneLinear(
        lanes, len(x) // max(lanes, 1), n_in, n_out, *(a.ctypes.data for a in (x, weight, y))
    )
    _run("dsa_lane_linear", call, isa, threads)
    return y


def _run(function: str, call: ctypes.Structure, isa: str, threads: int) -> None:
    wrong = getattr(_library(), function)(ctypes.byref(call), ISAS.index(isa), threads)
    if wrong:
        raise EngineError(f"{function} refused its input: {wrong.decode()}")


@cache
def _library() -> ctypes.CDLL:
    loaded = library("dsa_kernels")
    for name in ("dsa_gated_lowrank", "dsa_attend", "dsa_lane_linear"):
        function = getattr(loaded, name)
        function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
        function.restype = ctypes.c_char_p
    return loaded


def _float(array: Array) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def _last_contiguous(array: Array) -> Array:
    whole = array.dtype == np.float32 and array.strides[-1] == 4
    return array if whole and all(s % 4 == 0 for s in array.strides) else _float(array)


def _strides(array: Array) -> Any:
    return (ctypes.c_int64 * 3)(*(stride // 4 for stride in array.strides[:3]))
