"""One decoder layer, for every family, with or without caches, with or without lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsa_edge.exporters.adapters import Lanes
from dsa_edge.exporters.decoder._attention import Segment, attend
from dsa_edge.exporters.decoder._grouped import attend_grouped
from dsa_edge.exporters.decoder._linear import Linear, products
from dsa_edge.exporters.decoder._rope import rotate
from dsa_edge.exporters.decoder._spec import DecoderSpec
from dsa_edge.kernels import torch_adapter

__all__ = ["Layer", "Norm"]

ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}


class Norm(nn.Module):
    """Root-mean-square norm over the last axis with gain (width,)."""

    gain: Tensor

    def __init__(self, gain: Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("gain", gain.float())
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (…, width)."""
        # In the order of operators that ONNX Runtime knows as one.
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.gain


class Layer(nn.Module):
    """Attention and feed-forward of the base; an adapter comes from outside, as `lanes`.

    linears: a `Linear` for each of q k v o gate up down.
    norms: `attention` and `mlp`, and as the family has them `q`, `k`, `attention_out`, `mlp_out`.
    """

    def __init__(
        self, spec: DecoderSpec, linears: dict[str, Linear], norms: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.linears = nn.ModuleDict(linears)
        self.norms = nn.ModuleDict({k: Norm(gain, spec.norm_eps) for k, gain in norms.items()})

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        cached: tuple[Segment, ...] = (),
        lanes: Lanes | None = None,
        asking: tuple[Tensor, Tensor, Tensor, Lanes] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over T new tokens.

        x: (L, B, T, width); cos, sin: (B, T, rotated); mask: (B, T, P + T), additive, or
            one for each half of the heads, (2, B, T, P + T): see `attend_grouped`.
        cached: keys and values (B or 1, kv, P, head_dim) of earlier tokens, shared by all lanes.
        lanes: this layer's adapter in L perturbed copies, or None for the base alone.
        asking: x, cos, sin and adapter of the U rows to compute, out of the T, where the others
            only give keys and values; the mask is then (B, U, P + T).
        Returns x (L, B, T or U, width), and the new keys and values (L, B, T, kv, head_dim).
        """
        h = self._norm("attention", x, lanes)
        k, v = self._keys(h, cos, sin, lanes)
        if asking is not None:
            x, cos, sin, lanes = asking
            h = self._norm("attention", x, lanes)
        q = rotate(self._heads("q", h, self.spec.n_heads, lanes), cos, sin)
        attention = attend if mask.dim() == 3 else attend_grouped
        mixed = attention(q, k, v, mask, cached, self.spec.scale, self.spec.attention_softcap)
        return self._upper(x, h, mixed, lanes), k, v

    def extend(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        caches: tuple[Tensor, ...],
        window: int | None,
        lanes: Lanes | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over T new tokens on top of a cache of all layers, which is not copied.

        x: (1, B, T, width); angles: cosine and sine (B, T, rotated); window: tokens that a row
        sees, None for all.
        caches: prefix keys and values, keys, values, lengths and layer of `dsa::attend_cache`.
        Returns x, and the new keys and values (1, B, kv, T, head_dim) float16.
        """
        spec = self.spec
        h = self._norm("attention", x, lanes)
        q, k, v = self._each(("q", "k", "v"), h, lanes)
        q, k = self._normed("q", q, spec.n_heads), self._normed("k", k, spec.n_kv_heads)
        mixed, new_keys, new_values = torch_adapter.attend_cache(
            q, k, v, *angles, *caches, spec.scale, spec.attention_softcap or 0.0, window or 0
        )
        return self._upper(x, h, mixed, lanes, few=True), new_keys, new_values

    def _upper(
        self, x: Tensor, h: Tensor, mixed: Tensor, lanes: Lanes | None, few: bool = False
    ) -> Tensor:
        """What follows attention: its output product and the feed-forward, added to x.

        h: what attention was made from; mixed: its heads side by side; few: x has few rows.
        """
        mixed = self._after("attention_out", self._linear("o", mixed, lanes))
        mixed = _added("attention", h, mixed, lanes)
        x = x + mixed * self.spec.residual_scale
        return x + self._mlp(x, lanes, few) * self.spec.residual_scale

    def keys(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (1, B, T, kv, head_dim) of the base alone for x (1, B, T, width)."""
        return self._keys(self.norms["attention"](x), cos, sin, None)

    def _keys(
        self, h: Tensor, cos: Tensor, sin: Tensor, lanes: Lanes | None
    ) -> tuple[Tensor, Tensor]:
        k = self._heads("k", h, self.spec.n_kv_heads, lanes)
        v = self._linear("v", h, lanes).unflatten(-1, (self.spec.n_kv_heads, self.spec.head_dim))
        return rotate(k, cos, sin), v

    def _heads(self, target: str, h: Tensor, heads: int, lanes: Lanes | None) -> Tensor:
        """Queries or keys (L, B, T, heads, head_dim), normed where the family does so."""
        x = self._linear(target, h, lanes).unflatten(-1, (heads, self.spec.head_dim))
        return self.norms[target](x) if self.spec.qk_norm else x

    def _normed(self, target: str, x: Tensor, heads: int) -> Tensor:
        """Heads side by side (L, B, T, heads · head_dim), each normed where the family does so."""
        if not self.spec.qk_norm:
            return x
        apart = x.unflatten(-1, (heads, self.spec.head_dim))
        normed: Tensor = self.norms[target](apart).flatten(-2)
        return normed

    def _mlp(self, x: Tensor, lanes: Lanes | None, few: bool = False) -> Tensor:
        h = self._norm("mlp", x, lanes)
        each = self._each if few else self._one_by_one
        gate, up = each(("gate", "up"), h, lanes)
        gated = ACTIVATE[self.spec.activation](gate) * up
        y = self._after("mlp_out", self._linear("down", gated, lanes))
        return _added("mlp", h, y, lanes)

    def _each(self, targets: tuple[str, ...], x: Tensor, lanes: Lanes | None) -> list[Tensor]:
        """What each target makes of a few rows x."""
        bases = products([cast(Linear, self.linears[target]) for target in targets], x)
        return [_added(t, x, base, lanes) for t, base in zip(targets, bases, strict=True)]

    def _one_by_one(self, targets: tuple[str, ...], x: Tensor, lanes: Lanes | None) -> list[Tensor]:
        return [self._linear(target, x, lanes) for target in targets]

    def _linear(self, target: str, x: Tensor, lanes: Lanes | None) -> Tensor:
        return _added(target, x, self.linears[target](x), lanes)

    def _norm(self, name: str, x: Tensor, lanes: Lanes | None) -> Tensor:
        h = self.norms[name](x)
        return _added(f"{name}_norm", h, h, lanes)

    def _after(self, norm: str, x: Tensor) -> Tensor:
        return self.norms[norm](x) if self.spec.sandwich_norms else x


def _added(point: str, x: Tensor, y: Tensor, lanes: Lanes | None) -> Tensor:
    """A value y at a point, made from x, with what the adapter adds."""
    return y if lanes is None else lanes.add(point, x, y)
