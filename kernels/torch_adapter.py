"""The kernels of adapter and attention as torch ops, each named like its reference.

Registered once, on import. Those that ExecuTorch calls have an out variant. Here they run on the
compiled kernel where that is built, on the numpy reference otherwise. Leading axes may be flattened
into one: lanes, examples and tokens then come from the other arguments.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dsa_edge.kernels import attend as attend_reference
from dsa_edge.kernels import attend_cache as cache_reference
from dsa_edge.kernels import gated_lowrank as gated_reference
from dsa_edge.kernels import lane_linear as lane_reference
from dsa_edge.kernels import native_ops
from dsa_edge.kernels.library import library_path

__all__ = ["attend", "attend_cache", "gated_lowrank", "lane_linear"]

_DSA = torch.library.Library("dsa", "FRAGMENT")


def _define(schema: str, outputs: tuple[str, ...]) -> None:
    """One op and its out variant."""
    name, arguments = schema.rstrip(")").split("(", 1)
    given = ", ".join(f"Tensor({chr(97 + i)}!) {out}" for i, out in enumerate(outputs))
    returned = [f"Tensor({chr(97 + i)}!)" for i in range(len(outputs))]
    plain = ["Tensor"] * len(outputs)
    _DSA.define(f"{name}({arguments}) -> {_tuple(plain)}")
    _DSA.define(f"{name}.out({arguments}, *, {given}) -> {_tuple(returned)}")


def _tuple(types: list[str]) -> str:
    return types[0] if len(types) == 1 else f"({', '.join(types)})"


_define(gated_reference.SCHEMA, ("out",))
_define(lane_reference.SCHEMA, ("out",))
_define(attend_reference.SCHEMA, ("y", "new_keys_out"))
_DSA.define(f"{cache_reference.SCHEMA} -> (Tensor, Tensor, Tensor)")


def _kernels(reference: ModuleType) -> ModuleType:
    return native_ops if library_path("dsa_kernels") else reference


def _gated_lowrank(
    x: Tensor, base: Tensor, core: Tensor, route_index: Tensor, route_weight: Tensor, u: Tensor,
    v: Tensor, active: Tensor,
) -> Tensor:  # fmt: skip
    rows = _rows(x, core, active)
    arrays = [t.numpy() for t in (core, route_index, route_weight, u, v, active)]
    y = _kernels(gated_reference).gated_lowrank(
        x.reshape(*rows, -1).numpy(), base.reshape(*rows, -1).numpy(), *arrays
    )
    return torch.from_numpy(y).view(base.shape)


def _rows(x: Tensor, core: Tensor, active: Tensor) -> tuple[int, ...]:
    """Lanes, examples and tokens of rows that may be flattened: see the module's docstring."""
    per_lane = active.numel()
    return (x.shape[:-1].numel() // per_lane if per_lane else core.shape[0], *active.shape)


def _lane_linear(x: Tensor, weight: Tensor) -> Tensor:
    lanes, n_out, n_in = weight.shape
    return torch.bmm(x.reshape(lanes, -1, n_in), weight.mT).view(-1, n_out)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, prefix_keys: Tensor,
    prefix_values: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, scale: float,
    softcap: float, window: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows = (-1, *cos.shape[:2])
    heads = [t.reshape(*rows, *t.shape[-2:]).numpy() for t in (q, k, v)]
    rest = [t.numpy() for t in (cos, sin, prefix_keys, prefix_values, keys, values, lengths)]
    y, new_keys = _kernels(attend_reference).attend(*heads, *rest, scale, softcap, window)
    return torch.from_numpy(y).view(_mixed(q)), torch.from_numpy(new_keys).view(k.shape)


def _attend_cache(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, prefix_keys: Tensor,
    prefix_values: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, layer: Tensor,
    scale: float, softcap: float, window: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    heads = [t.unflatten(-1, (-1, keys.shape[4])) for t in (q, k, v)]
    caches = [cache[int(layer)] for cache in (prefix_keys, prefix_values, keys, values)]
    y, new_keys = _attend(
        heads[0], heads[1], heads[2], cos, sin, caches[0], caches[1], caches[2], caches[3], lengths,
        scale, softcap, window,
    )  # fmt: skip
    kept = [t.transpose(2, 3).half() for t in (new_keys, heads[2])]
    return y, kept[0], kept[1]


def _mixed(q: Tensor) -> tuple[Any, ...]:
    """Shape of y: the heads of q (…, H, d) side by side, (…, H · d)."""
    return (*q.shape[:-2], q.shape[-2] * q.shape[-1])


def _gated_out(*inputs: Tensor, out: Tensor) -> Tensor:
    return out.copy_(_gated_lowrank(*inputs))


def _lane_linear_out(x: Tensor, weight: Tensor, *, out: Tensor) -> Tensor:
    return out.copy_(_lane_linear(x, weight))


def _attend_out(*inputs: Any, y: Tensor, new_keys_out: Tensor) -> tuple[Tensor, Tensor]:
    mixed, new_keys = _attend(*inputs)
    return y.copy_(mixed), new_keys_out.copy_(new_keys)


_DSA.impl("gated_lowrank", _gated_lowrank, "CPU")
_DSA.impl("gated_lowrank.out", _gated_out, "CPU")
_DSA.impl("lane_linear", _lane_linear, "CompositeExplicitAutograd")
_DSA.impl("lane_linear.out", _lane_linear_out, "CPU")
_DSA.impl("attend", _attend, "CPU")
_DSA.impl("attend.out", _attend_out, "CPU")
_DSA.impl("attend_cache", _attend_cache, "CPU")


@torch.library.register_fake("dsa::gated_lowrank", lib=_DSA)
def _(x: Tensor, base: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(base)


@torch.library.register_fake("dsa::attend", lib=_DSA)
def _(q: Tensor, k: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(_mixed(q)), torch.empty_like(k)


@torch.library.register_fake("dsa::attend_cache", lib=_DSA)
def _(q: Tensor, k: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    _, batch, groups, _, dim = rest[5].shape  # of keys
    kept = (1, batch, groups, q.shape[2], dim)
    halves = [q.new_empty(kept, dtype=torch.float16) for _ in range(2)]
    return torch.empty_like(q), halves[0], halves[1]


@torch.library.register_fake("dsa::lane_linear", lib=_DSA)
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


def _lane_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    lanes = weight.shape[0]
    rows = [t.reshape(lanes, -1, t.shape[1]) for t in (grad, x)]
    return lane_linear(grad, weight.mT), torch.bmm(rows[0].mT, rows[1])


def _lane_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


torch.library.register_autograd(
    "dsa::lane_linear", _lane_backward, setup_context=_lane_context, lib=_DSA
)


def _gated_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, core, index, weight, u, v, active = ctx.saved_tensors
    rows = (core.shape[0], *active.shape)
    blocks = torch.arange(core.shape[1], device=index.device)
    hot = index.unsqueeze(2) == blocks  # (B, K, N)
    gate = (hot * weight.unsqueeze(2)).sum(1).unsqueeze(1) * active.unsqueeze(2)  # (B, T, N)
    g, given = (t.reshape(*rows, -1) for t in (grad, x))
    u, v = (f.float().expand(len(blocks), -1, -1) for f in (u, v))  # which they may share
    up = torch.einsum("lbto,nro->lbtnr", g, u) * gate.unsqueeze(3)
    down = torch.einsum("lbti,nir->lbtnr", given, v)
    if core.dim() == 4:
        changed = torch.einsum("lbtnr,lbtns->lnrs", up, down)
        back = torch.einsum("lbtnr,lnrs->lbtns", up, core)
    else:
        changed = (up * down).sum((1, 2))
        back = up * core[:, None, None]
    back = torch.einsum("lbtns,nis->lbti", back, v).reshape(x.shape)
    return back, grad, changed, None, None, None, None, None


def _gated_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, _, *rest = inputs
    ctx.save_for_backward(x, *rest)


torch.library.register_autograd(
    "dsa::gated_lowrank", _gated_backward, setup_context=_gated_context, lib=_DSA
)

gated_lowrank = torch.ops.dsa.gated_lowrank
lane_linear = torch.ops.dsa.lane_linear
attend = torch.ops.dsa.attend
attend_cache = torch.ops.dsa.attend_cache
