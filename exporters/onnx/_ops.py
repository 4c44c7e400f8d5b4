"""How our torch ops look in ONNX: ONNX Runtime's quantized operators plus standard ones.

`MatMulNBits` with integer zero points cannot express a floating minimum, so an affine product is
split (`findings`): with group sums s(x) of x,

    W x = [scale · (code − 8)] x + (minimum + 8 · scale) · s(x)

The second product is d_in / 32 wide (`dsa_edge.kernels.add_offsets`); its factor is folded into a
float16 constant when a session loads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript import opset21 as op
from onnxscript.values import Op, Opset

from dsa_edge.kernels.onnx_function import DOMAIN
from dsa_edge.kernels.quantized_linear import GROUP

__all__ = ["MICROSOFT", "OPSET", "translations"]

OPSET = 21
MICROSOFT = "com.microsoft"
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def translations(accuracy_level: int) -> dict[Any, Callable[..., Any]]:
    """The exporter's table: torch op → ONNX nodes.

    accuracy_level: 4 quantizes activations to int8 inside the product, 0 keeps them float32.
    """

    def quantized_linear(
        x: Any, codes: Any, scales: Any, minimum: Any = None, bits: int = 4
    ) -> Any:
        scale = op.Cast(scales, to=FLOAT)
        y = _MATMUL(
            x, codes, scale, K=codes.shape[1] * GROUP, N=codes.shape[0], bits=bits,
            block_size=GROUP, accuracy_level=accuracy_level,
        )  # fmt: skip
        if minimum is None:
            return y
        eights = op.Mul(scale, op.Constant(value_float=2.0 ** (bits - 1)))
        offset = op.Transpose(op.Add(op.Cast(minimum, to=FLOAT), eights), perm=[1, 0])
        return _OFFSETS(x, y, op.Cast(offset, to=FLOAT16))

    def turning_linear(
        x: Any, codes: Any, scales: Any, minimum: Any, bits: int, _turned: Any, _scales: Any
    ) -> Any:
        return quantized_linear(x, codes, scales, minimum, bits)

    def quantized_embedding(ids: Any, codes: Any, scales: Any, bits: int = 8) -> Any:
        table = op.Reshape(codes, op.Constant(value_ints=[codes.shape[0], -1]))
        return _GATHER(
            table, ids, op.Cast(scales, to=FLOAT), bits=bits, block_size=GROUP,
            gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def gated_lowrank(*inputs: Any) -> Any:
        return _GATED(*inputs)

    def attend_cache(*inputs: Any) -> Any:
        *tensors, scale, softcap, window = inputs
        return _ATTEND(*tensors, scale=scale, softcap=softcap, window=window)

    def lane_linear(x: Any, weight: Any) -> Any:
        lanes, n_out = op.Shape(weight, start=0, end=1), weight.shape[1]
        rest = op.Constant(value_ints=[-1, weight.shape[2]])
        rows = op.Reshape(x, op.Concat(lanes, rest, axis=0))
        y = op.MatMul(rows, op.Transpose(weight, perm=[0, 2, 1]))
        return op.Reshape(y, op.Constant(value_ints=[-1, n_out]))

    return {
        torch.ops.dsa.attend_cache.default: attend_cache,
        torch.ops.dsa.gated_lowrank.default: gated_lowrank,
        torch.ops.dsa.lane_linear.default: lane_linear,
        torch.ops.dsa.quantized_linear.default: quantized_linear,
        torch.ops.dsa.turning_linear.default: turning_linear,
        torch.ops.dsa.quantized_embedding.default: quantized_embedding,
    }


def _operator(
    domain: str,
    name: str,
    inputs: dict[str, str],
    attributes: dict[str, type],
    outputs: tuple[str, ...] = ("float",),
) -> Op:
    """An operator that `onnx` has no schema for: ONNX Runtime's own, or ours."""
    schema = onnx.defs.OpSchema
    kinds = {int: schema.AttrType.INT, float: schema.AttrType.FLOAT}
    return Op(
        Opset(domain, 1),
        name,
        schema(
            name,
            domain,
            1,
            inputs=[schema.FormalParameter(k, f"tensor({v})") for k, v in inputs.items()],
            outputs=[
                schema.FormalParameter(f"Y{i}", f"tensor({v})") for i, v in enumerate(outputs)
            ],
            attributes=[schema.Attribute(a, kinds[t], "") for a, t in attributes.items()],
        ),
    )


_MATMUL = _operator(
    MICROSOFT,
    "MatMulNBits",
    {"A": "float", "B": "uint8", "scales": "float"},
    dict.fromkeys(("K", "N", "bits", "block_size", "accuracy_level"), int),
)
_GATHER = _operator(
    MICROSOFT,
    "GatherBlockQuantized",
    {"data": "uint8", "indices": "int64", "scales": "float"},
    dict.fromkeys(("bits", "block_size", "gather_axis", "quantize_axis"), int),
)
_OFFSETS = _operator(DOMAIN, "add_offsets", {"x": "float", "y": "float", "offsets": "float16"}, {})
_GATED = _operator(
    DOMAIN,
    "gated_lowrank",
    {
        "x": "float", "base": "float", "core": "float", "route_index": "int64",
        "route_weight": "float", "u": "float16", "v": "float16", "active": "bool",
    },
    {},
)  # fmt: skip
_ATTEND = _operator(
    DOMAIN,
    "attend_cache",
    {
        "q": "float", "k": "float", "v": "float", "cos": "float", "sin": "float",
        "prefix_keys": "float16", "prefix_values": "float16", "keys": "float16",
        "values": "float16", "lengths": "int64", "layer": "int64",
    },
    {"scale": float, "softcap": float, "window": int},
    ("float", "float16", "float16"),
)  # fmt: skip
