"""One decoder layer as an ExecuTorch program: XNNPACK for the base, our two ops for the rest.

The same program serves prompts, probes and generation, whatever the method: rows of all lanes,
examples and tokens lie in one axis M = L · B · T, and the ops tell them apart by their other
arguments. `runtime/_executorch_engine.py` calls it. Shapes:

    x (M, D)   cos, sin (B, T, rotated)   prefix (1, G, X, d)   keys, values (B, G, P, d) float16
    lengths (B)   with an adapter: slots (L, m)   route_index, route_weight (B, K)   active (B, T)
    → x (M, D), new_keys (M, G, d), new_values (M, G, d)
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dsa_edge.adapter import TARGETS
from dsa_edge.exporters.decoder import ACTIVATE, Layer, Linear
from dsa_edge.exporters.executorch._linear import GroupSums, XnnLinear, round_activations
from dsa_edge.exporters.subspace import LayerBlocks, Route
from dsa_edge.kernels import torch_adapter

__all__ = ["AdaptedProgram", "BaseProgram", "RowNorm"]


class RowNorm(nn.Module):
    """Root-mean-square norm whose mean is a product: XNNPACK has no mean over rows."""

    gain: Tensor
    mean: Tensor

    def __init__(self, gain: Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("gain", gain.clone())
        self.register_buffer("mean", torch.full((1, gain.shape[0]), 1 / gain.shape[0]))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (…, width)."""
        square = nn.functional.linear(x * x, self.mean)
        return x * torch.rsqrt(square + self.eps) * self.gain


class _Input(nn.Module):
    """What linears that read the same x share: its rounding and its group sums."""

    def __init__(self, n_in: int, quantized: bool) -> None:
        super().__init__()
        self.sums = GroupSums(n_in) if quantized else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (rows, n_in) → what `XnnLinear` takes."""
        return (x, x, x) if self.sums is None else (x, round_activations(x), self.sums(x))


class BaseProgram(nn.Module):
    """A layer without adapter: what lies below the split."""

    def __init__(self, layer: Layer, window: int | None) -> None:
        super().__init__()
        self.spec, self.window = layer.spec, window or 0
        self.norms = nn.ModuleDict(
            {k: RowNorm(n.get_buffer("gain"), layer.spec.norm_eps) for k, n in layer.norms.items()}
        )
        linears = {target: cast(Linear, layer.linears[target]) for target in TARGETS}
        self.linears = nn.ModuleDict({target: XnnLinear(x) for target, x in linears.items()})
        self.inputs = nn.ModuleDict(
            {name: _Input(layer.spec.target_shape(name)[1], bool(linears[name].bits))
             for name in ("q", "o", "gate", "down")}
        )  # fmt: skip

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, prefix_keys: Tensor, prefix_values: Tensor,
        keys: Tensor, values: Tensor, lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """See the module's docstring."""
        caches = prefix_keys, prefix_values, keys, values, lengths
        return self._run(x, cos, sin, caches, ())

    def _run(
        self, x: Tensor, cos: Tensor, sin: Tensor, caches: tuple[Tensor, ...],
        adapter: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        spec, rows = self.spec, x.shape[0]
        h = self.norms["attention"](x)
        given = self.inputs["q"](h)
        bases = {target: self.linears[target](*given) for target in ("q", "k", "v")}
        q, k, v = (self._adapted(target, h, bases[target], adapter) for target in ("q", "k", "v"))
        q = self._normed("q", q.view(rows, spec.n_heads, spec.head_dim))
        k = self._normed("k", k.view(rows, spec.n_kv_heads, spec.head_dim))
        v = v.view(rows, spec.n_kv_heads, spec.head_dim)
        mixed, new_keys = torch_adapter.attend(
            q, k, v, cos, sin, *caches, spec.scale, spec.attention_softcap or 0.0, self.window
        )
        x = (
            x
            + self._after("attention_out", self._linear("o", mixed, adapter)) * spec.residual_scale
        )
        h = self.norms["mlp"](x)
        given = self.inputs["gate"](h)
        bases = {target: self.linears[target](*given) for target in ("gate", "up")}
        gate, up = (self._adapted(target, h, bases[target], adapter) for target in ("gate", "up"))
        gated = ACTIVATE[spec.activation](gate) * up
        down = self._after("mlp_out", self._linear("down", gated, adapter))
        return x + down * spec.residual_scale, new_keys, v

    def _linear(self, target: str, x: Tensor, adapter: tuple[Tensor, ...]) -> Tensor:
        return self._adapted(target, x, self.linears[target](*self.inputs[target](x)), adapter)

    def _adapted(self, target: str, x: Tensor, base: Tensor, adapter: tuple[Tensor, ...]) -> Tensor:
        """The base's output plus the adapter's: nothing here."""
        return base

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return self.norms[name](x) if self.spec.qk_norm else x

    def _after(self, norm: str, x: Tensor) -> Tensor:
        return self.norms[norm](x) if self.spec.sandwich_norms else x


class AdaptedProgram(BaseProgram):
    """A layer from the split up."""

    def __init__(self, layer: Layer, window: int | None, blocks: LayerBlocks) -> None:
        super().__init__(layer, window)
        self.blocks = blocks

    def forward(  # type: ignore[override]
        self, x: Tensor, cos: Tensor, sin: Tensor, prefix_keys: Tensor, prefix_values: Tensor,
        keys: Tensor, values: Tensor, lengths: Tensor, slots: Tensor, route_index: Tensor,
        route_weight: Tensor, active: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """See the module's docstring."""
        caches = prefix_keys, prefix_values, keys, values, lengths
        return self._run(x, cos, sin, caches, (slots, route_index, route_weight, active))

    def _adapted(self, target: str, x: Tensor, base: Tensor, adapter: tuple[Tensor, ...]) -> Tensor:
        slots, index, weight, active = adapter
        return self.blocks.lanes(slots, Route(index, weight, active)).add(target, x, base)
