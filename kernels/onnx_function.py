"""`dsa::gated_lowrank` and `dsa::add_offsets` as ONNX functions of standard operators.

A stock ONNX Runtime runs this body; a session that has loaded our library runs the kernel in its
place. The blocks' factors lie side by side in one product each, N · r wide, so blocks that are not
chosen cost as much as those that are: that is what the kernel saves. Factors that all blocks share
are repeated for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["DOMAIN", "add_offsets_function", "gated_lowrank_function"]

DOMAIN = "dsa"

_MIXED = {
    # C (r, r) of every lane, or of every example in each, and block: rows times its transpose
    "core": """
        by_block = Transpose <perm = [0, 2, 1, 3]> (of_core)
        across = Transpose <perm = [0, 1, 3, 2]> (core)
        turned = MatMul (by_block, across)
        mixed = Transpose <perm = [0, 2, 1, 3]> (turned)
    """,
    # the diagonal of the same
    "diagonal": """
        one_1 = Constant <value_ints = [1]> ()
        diagonal = Unsqueeze (core, one_1)
        mixed = Mul (of_core, diagonal)
    """,
}

_BODY = """
<domain: "dsa", opset_import: ["" : 21]>
gated_lowrank (x, base, core, route_index, route_weight, u, v, active) => (y)
{
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    rest = Constant <value_ints = [-1]> ()
SHARED    blocks = Shape <start = 0, end = 1> (V_EACH)
    rank = Shape <start = 2, end = 3> (v)
    lanes = Shape <start = 0, end = 1> (x)
    n_in = Shape <start = 3, end = 4> (x)

    off_on = Constant <value_floats = [0.0, 1.0]> ()
    hot = OneHot <axis = -1> (route_index, blocks, off_on)
    weight = Unsqueeze (route_weight, two)
    weighted = Mul (hot, weight)
    route = ReduceSum <keepdims = 1> (weighted, one)
    acts = Cast <to = 1> (active)
    column = Unsqueeze (acts, two)
    gate = Mul (route, column)
    gate_shape = Concat <axis = 0> (one, rest, blocks, one)
    gates = Reshape (gate, gate_shape)

    v_wide = Cast <to = 1> (V_EACH)
    v_turned = Transpose <perm = [1, 0, 2]> (v_wide)
    v_shape = Constant <value_ints = [0, -1]> ()
    v_all = Reshape (v_turned, v_shape)
    x_shape = Concat <axis = 0> (lanes, rest, n_in)
    rows = Reshape (x, x_shape)
    down = MatMul (rows, v_all)
    zero_ = Constant <value_ints = [0, 0]> ()
    apart = Concat <axis = 0> (zero_, blocks, rank)
    down_4 = Reshape (down, apart)
    scaled = Mul (down_4, gates)
    cores = Shape <start = 0, end = 1> (core)
    core_shape = Concat <axis = 0> (cores, rest, blocks, rank)
    of_core = Reshape (scaled, core_shape)
    MIXED
    together = Constant <value_ints = [0, 0, -1]> ()
    mixed_3 = Reshape (mixed, together)
    u_wide = Cast <to = 1> (U_EACH)
    n_out = Shape <start = 2, end = 3> (u)
    u_shape = Concat <axis = 0> (rest, n_out)
    u_all = Reshape (u_wide, u_shape)
    delta = MatMul (mixed_3, u_all)
    shape = Shape (base)
    delta_4 = Reshape (delta, shape)
    y = Add (base, delta_4)
}
"""


# Factors (1, ...) for each of the N blocks of the core
_SHARED = """
    many = Shape <start = 1, end = 2> (core)
    ones = Constant <value_ints = [1, 1]> ()
    each = Concat <axis = 0> (many, ones)
    v_each = Expand (v, each)
    u_each = Expand (u, each)
"""


def gated_lowrank_function(kind: str, shared: bool = False) -> onnx.FunctionProto:
    """The function for adapters of a kind, `core` or `diagonal`.

    shared: u and v are one pair of factors for all blocks, of which there may be several.
    """
    import onnx.parser

    names = ("v_each", "u_each") if shared else ("v", "u")
    body = _BODY.replace("MIXED", _MIXED[kind]).replace("SHARED", _SHARED if shared else "")
    body = body.replace("V_EACH", names[0]).replace("U_EACH", names[1])
    return onnx.parser.parse_function(body)


_OFFSETS = """
<domain: "dsa", opset_import: ["" : 21]>
add_offsets (x, y, offsets) => (z)
{
    rows = Shape <start = 0, end = -1> (x)
    group = Constant <value_ints = [-1, 32]> ()
    apart = Concat <axis = 0> (rows, group)
    grouped = Reshape (x, apart)
    last = Constant <value_ints = [-1]> ()
    sums = ReduceSum <keepdims = 0> (grouped, last)
    wide = Cast <to = 1> (offsets)
    more = MatMul (sums, wide)
    z = Add (y, more)
}
"""


def add_offsets_function() -> onnx.FunctionProto:
    """`dsa::add_offsets` of standard operators."""
    import onnx.parser

    return onnx.parser.parse_function(_OFFSETS)
