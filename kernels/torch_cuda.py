"""`dsa::gated_lowrank` on a GPU: the op's equation in plain torch, registered on import.

Gradients are those that `torch_adapter` registers for the op, whatever the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsa_edge.kernels import torch_adapter  # noqa: F401  defines the op

__all__ = ["gated_lowrank"]


def gated_lowrank(
    x: Tensor, base: Tensor, core: Tensor, route_index: Tensor, route_weight: Tensor, u: Tensor,
    v: Tensor, active: Tensor,
) -> Tensor:  # fmt: skip
    """`dsa::gated_lowrank` in plain torch, for a GPU; shapes as in the kernel's reference."""
    if not len(u):
        return base.clone()
    rows = (core.shape[0], *active.shape)
    x, y = x.reshape(*rows, -1), base.reshape(*rows, -1)
    for k in range(route_index.shape[1]):
        chosen = route_index[:, k]
        one = len(u) == 1  # blocks share their factors: no gather, no copy for every example
        down = x @ (v[0] if one else v[chosen]).float()
        c = core[:, 0, None] if core.shape[1] == 1 else core[:, chosen]  # (L, B or 1, r[, r])
        mixed = down * c.unsqueeze(2) if core.ndim == 3 else down @ c.transpose(2, 3)
        mixed = mixed * (route_weight[:, k, None] * active).unsqueeze(-1)
        if one:
            y = torch.addmm(y.flatten(0, 2), mixed.flatten(0, 2), u[0].float()).view(y.shape)
        else:
            y = y + mixed @ u[chosen].float()
    return y.reshape(base.shape)


_DSA = torch.library.Library("dsa", "IMPL")
_DSA.impl("gated_lowrank", gated_lowrank, "CUDA")
