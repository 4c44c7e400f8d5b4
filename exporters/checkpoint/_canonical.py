"""Names and shapes of a model's tensors, the same for every family and file format.

embedding (vocab, width); head (vocab, width), only if untied; final_norm (width,)
layers.{i}.{q,k,v,o,gate,up,down} (n_out, n_in); layers.{i}.{q,…}.bias (n_out,)
layers.{i}.norms.{attention,mlp,attention_out,mlp_out} (width,)
layers.{i}.norms.{q,k} (head_dim,)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsa_edge.exporters.decoder import DecoderSpec
from dsa_edge.kinds import TARGETS

__all__ = ["canonical_shapes", "translate"]

Shape = tuple[int, ...]


def canonical_shapes(spec: DecoderSpec) -> Iterator[tuple[str, Shape]]:
    """Every tensor that a model of this spec has, with its shape."""
    yield "embedding", (spec.vocab_size, spec.width)
    if not spec.tied:
        yield "head", (spec.vocab_size, spec.width)
    yield "final_norm", (spec.width,)
    for layer in range(spec.n_layers):
        for part, shape in _layer_shapes(spec):
            yield f"layers.{layer}.{part}", shape


def translate(name: str, whole: Mapping[str, str], layer: str, parts: Mapping[str, str]) -> str:
    """A canonical name in a file's own words.

    whole: names of the tensors outside the layers; layer: prefix with `{}` for the index;
    parts: `q`, `norms.mlp` … to the name after the prefix, without `.weight` and `.bias`.
    """
    if not name.startswith("layers."):
        return whole[name]
    _, index, part = name.split(".", 2)
    stem = part.removesuffix(".bias")
    return f"{layer.format(index)}{parts[stem]}.{'weight' if stem == part else 'bias'}"


def _layer_shapes(spec: DecoderSpec) -> Iterator[tuple[str, Shape]]:
    biased = {"q": spec.qkv_bias, "k": spec.qkv_bias, "v": spec.qkv_bias, "o": spec.o_bias}
    for target in TARGETS:
        shape = spec.target_shape(target)
        yield target, shape
        if biased.get(target, spec.mlp_bias):
            yield f"{target}.bias", shape[:1]
    wide = ["attention", "mlp"] + ["attention_out", "mlp_out"] * spec.sandwich_norms
    yield from ((f"norms.{norm}", (spec.width,)) for norm in wide)
    if spec.qk_norm:
        yield from ((f"norms.{norm}", (spec.head_dim,)) for norm in ("q", "k"))
