"""`dsa::attend_cache` as an ONNX function of standard operators, for a stock ONNX Runtime.

A session that has loaded our library runs the kernel in its place, which reads the caches where
they lie; this body takes one layer out of them, joins the three segments and masks what is padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["attend_cache_function"]

# X (1, B, T, heads · d) → heads (B, T, heads, d) with the first `rotated` numbers of each turned
_ROTATED = """
    X_heads = Reshape (X, apart)
    X_head = Slice (X_heads, zero, rotated, last)
    X_rest = Slice (X_heads, rotated, end, last)
    X_first, X_second = Split <axis = -1, num_outputs = 2> (X_head)
    X_minus = Neg (X_second)
    X_swapped = Concat <axis = -1> (X_minus, X_first)
    X_cos = Mul (X_head, cos_4)
    X_sin = Mul (X_swapped, sin_4)
    X_sum = Add (X_cos, X_sin)
    X_turned = Concat <axis = -1> (X_sum, X_rest)
"""

# Heads (B, T, G, d) of the new tokens → (B, G, X + P + T, d) of all, and what the cache takes in
_JOINED = """
    X_across = Transpose <perm = [0, 2, 1, 3]> (X_new)
    X_half = Cast <to = 10> (X_across)
    new_X = Unsqueeze (X_half, zero)
    X_shared = Gather <axis = 0> (prefix_X, layer)
    X_prefix = Expand (X_shared, each)
    X_own = Gather <axis = 0> (X, layer)
    X_past = Concat <axis = 2> (X_prefix, X_own)
    X_wide = Cast <to = 1> (X_past)
    all_X = Concat <axis = 2> (X_wide, X_across)
"""

_SOFTCAP = """
    cap = Constant <value_float : float = @softcap> ()
    raised = Div (scores, cap)
    bent = Tanh (raised)
    capped = Mul (bent, cap)
"""

_WINDOW = """
    window_ = Constant <value_int : int = @window> ()
    unbounded = Equal (window_, nothing)
    close = Less (distance, window_)
    near = Or (close, unbounded)
    visible = And (seen, near)
"""

_BODY = """
<domain: "dsa", opset_import: ["" : 21]>
attend_cache <scale, softcap, window> (q, k, v, cos, sin, prefix_keys, prefix_values, keys, values,
    lengths, layer) => (y, new_keys, new_values)
{
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    last = Constant <value_ints = [-1]> ()
    end = Constant <value_ints = [9223372036854775807]> ()
    nothing = Constant <value_int = 0> ()
    step = Constant <value_int = 1> ()

    batch = Shape <start = 1, end = 2> (q)
    new = Shape <start = 2, end = 3> (q)
    groups = Shape <start = 2, end = 3> (keys)
    dim = Shape <start = 4, end = 5> (keys)
    apart = Concat <axis = 0> (batch, new, last, dim)
    each = Concat <axis = 0> (batch, one, one, one)
    rotated = Shape <start = 2, end = 3> (cos)
    cos_4 = Unsqueeze (cos, two)
    sin_4 = Unsqueeze (sin, two)
ROTATED_Q
ROTATED_K
    keys_new = Identity (k_turned)
    values_new = Reshape (v, apart)
JOINED_KEYS
JOINED_VALUES

    by_group = Concat <axis = 0> (batch, new, groups, last, dim)
    q_5 = Reshape (q_turned, by_group)
    share = Shape <start = 3, end = 4> (q_5)
    q_across = Transpose <perm = [0, 2, 3, 1, 4]> (q_5)
    as_rows = Concat <axis = 0> (batch, groups, last, dim)
    q_rows = Reshape (q_across, as_rows)
    factor = Constant <value_float : float = @scale> ()
    scaled = Mul (q_rows, factor)
    columns = Transpose <perm = [0, 1, 3, 2]> (all_keys)
    scores = MatMul (scaled, columns)
SOFTCAP

    prefix = Shape <start = 3, end = 4> (prefix_keys)
    past = Shape <start = 3, end = 4> (keys)
    prefix_ = Squeeze (prefix)
    past_ = Squeeze (past)
    new_ = Squeeze (new)
    first_keys = Range (nothing, prefix_, step)
    first_each = Concat <axis = 0> (batch, one)
    first_at = Expand (first_keys, first_each)
    old_keys = Range (nothing, past_, step)
    length = Unsqueeze (lengths, one)
    valid = Less (old_keys, length)
    old_place = Add (old_keys, prefix_)
    never = Constant <value_int = 4611686018427387904> ()
    old_at = Where (valid, old_place, never)
    steps = Range (nothing, new_, step)
    after = Add (length, prefix_)
    new_at = Add (after, steps)
    key_at = Concat <axis = 1> (first_at, old_at, new_at)
    key_3 = Unsqueeze (key_at, one)
    row_3 = Unsqueeze (new_at, two)
    distance = Sub (row_3, key_3)
    seen = GreaterOrEqual (distance, nothing)
WINDOW
    shown = Constant <value_float = 0.0> ()
    hidden = Constant <value_float = -1e9> ()
    mask = Where (VISIBLE, shown, hidden)
    mask_axes = Constant <value_ints = [1, 2]> ()
    mask_5 = Unsqueeze (mask, mask_axes)

    by_token = Concat <axis = 0> (batch, groups, share, new, last)
    scores_5 = Reshape (SCORES, by_token)
    masked = Add (scores_5, mask_5)
    weights = Softmax <axis = -1> (masked)
    all_count = Shape <start = 2, end = 3> (all_keys)
    as_weights = Concat <axis = 0> (batch, groups, last, all_count)
    weight_rows = Reshape (weights, as_weights)
    mixed = MatMul (weight_rows, all_values)
    mixed_5 = Reshape (mixed, by_token)
    back = Transpose <perm = [0, 3, 1, 2, 4]> (mixed_5)
    shape = Shape (q)
    y = Reshape (back, shape)
}
"""


def attend_cache_function(softcap: bool, windows: bool) -> onnx.FunctionProto:
    """The function for models whose scores have a soft cap, and whose layers have windows."""
    import onnx.parser

    parts = {
        "ROTATED_Q": _ROTATED.replace("X", "q"),
        "ROTATED_K": _ROTATED.replace("X", "k"),
        "JOINED_KEYS": _JOINED.replace("X", "keys"),
        "JOINED_VALUES": _JOINED.replace("X", "values"),
        "SOFTCAP": _SOFTCAP if softcap else "",
        "WINDOW": _WINDOW if windows else "",
        "SCORES": "capped" if softcap else "scores",
        "VISIBLE": "visible" if windows else "seen",
    }
    body = _BODY
    for name, text in parts.items():
        body = body.replace(name, text)
    return onnx.parser.parse_function(body)
