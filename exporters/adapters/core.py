"""`core` and `diagonal`: a small trained matrix between a weight's own singular directions.

    core      y += U C V x         C (r, r), zero at the start
    diagonal  y += U diag(c) V x   c (r,)

U carries the singular values, so C is relative to W's own strength and one ε fits all layers. It is
SubZero (2410.08989) with frozen factors; `diagonal` is AdaLoRA's Λ (2303.10512) over them.
"""

from __future__ import annotations

from torch import Tensor

from dsa_edge.exporters.adapters._block import Block, Parts, Route
from dsa_edge.exporters.subspace import truncated_svd
from dsa_edge.kernels.torch_adapter import gated_lowrank

__all__ = ["Core"]


class Core(Block):
    """Frozen factors of one target, kept in float16: u (1, r, n_out) and v (1, n_in, r).

    Its blocks, if it has several, share them; each has a core of its own.
    """

    gated = True
    u: Tensor
    v: Tensor

    def __init__(self, point: str, parts: Parts, frozen: dict[str, Tensor]) -> None:
        super().__init__(point, parts, frozen)
        self.core_shape = (len(parts), *next(iter(parts.values())))  # of N blocks

    @classmethod
    def frozen(cls, weight: Tensor | None, rank: int) -> dict[str, Tensor]:
        """The leading singular directions of the weight, singular values on u."""
        assert weight is not None  # only linears carry it
        return cls.factors(*truncated_svd(weight, rank))

    @staticmethod
    def factors(u: Tensor, v: Tensor) -> dict[str, Tensor]:
        """The buffers of all blocks from U (n_out, r) and V (r, n_in)."""
        return {"u": u.T[None].half().contiguous(), "v": v.T[None].half().contiguous()}

    def add(self, x: Tensor, y: Tensor, parameters: Tensor, route: Route) -> Tensor:
        """See `Block.add`; leading axes of x and y may be flattened into one."""
        core = parameters.reshape(-1, *self.core_shape)
        return gated_lowrank(x, y, core, route.index, route.weight, self.u, self.v, route.active)
