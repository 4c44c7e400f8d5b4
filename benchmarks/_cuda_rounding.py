"""Rounding in groups of 32 as one CUDA kernel: as half a dozen, it takes most of a probe."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice
except ImportError:  # a machine without a GPU, where nothing here is called
    triton = None

__all__ = ["rounded_groups"]

GROUP = 32  # must match `_torch_engine.GROUP`
GROUPS = 32  # of one program


def rounded_groups(x: Tensor) -> Tensor:
    """x, contiguous, a multiple of 32 numbers float32, in int8 and back; a new tensor."""
    out = torch.empty_like(x)
    groups = x.numel() // GROUP
    _kernel[(-(-groups // GROUPS),)](x, out, groups, GROUP, GROUPS)
    return out


def _round(x, y, groups, group: tl.constexpr, count: tl.constexpr):
    """Load (count, group), scale by the largest of each row, round, and scale back."""
    at = tl.program_id(0) * count + tl.arange(0, count)
    places = at[:, None] * group + tl.arange(0, group)[None, :]
    there = (at < groups)[:, None]
    values = tl.load(x + places, mask=there, other=0.0)
    scale = tl.maximum(tl.max(tl.abs(values), 1), 1e-30)[:, None] / 127
    tl.store(y + places, libdevice.rint(values / scale) * scale, mask=there)


_kernel = triton and triton.jit(_round)
