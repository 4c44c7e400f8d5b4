"""Forward tokens that a fit costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsa_edge.examples import Example
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._cache import cache_size
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._objective import items_of

__all__ = ["Costs"]

RATES_TRIED = 2  # lanes with which a fit tries its rate before its first step, and its start


@dataclass(frozen=True)
class Costs:
    """Forward tokens, in units of one token through all layers of the base.

    A row of a probe runs the adapted layers alone: it counts for its share of them. A head over the
    whole vocabulary counts for as many layers as have its weights; over a few candidates for none.
    """

    layers: int
    adapted: int
    head: float  # layers

    @classmethod
    def of(cls, manifest: Manifest) -> Costs:
        """Of a bundle."""
        d, geometry = manifest.decoder, manifest.decoder
        width, ffn = int(geometry["width"]), int(geometry["ffn_width"])
        heads = (int(d["n_heads"]) + int(d["n_kv_heads"])) * int(d["head_dim"])
        layer = 2 * width * heads + 3 * width * ffn
        adapted = manifest.n_layers - manifest.split_layer
        return cls(manifest.n_layers, adapted, int(d["vocab_size"]) * width / layer)

    def row(self, choices: bool) -> float:
        """One row of a probe."""
        return (self.adapted + (0 if choices else self.head)) / self.layers

    def whole(self, rows: int, heads: int) -> float:
        """So many tokens from the bottom, of which `heads` go through the head."""
        return rows + heads * self.head / self.layers

    def before(
        self, manifest: Manifest, encoder: Encoder, examples: Sequence[Example],
        hyper: Hyperparameters, lanes: int,
    ) -> float:  # fmt: skip
        """What a fit takes before its first step: prompts, once, and a trial of its settings."""
        encoded = encoder.encode_all(examples)
        _, tokens = cache_size(manifest, items_of(encoded))
        rows = sum(len(item.tail) for example in encoded for item in example.items)
        tried = (lanes + RATES_TRIED) * hyper.batch * rows / len(encoded)
        return tokens + tried * self.row(encoded[0].tokens is not None)
