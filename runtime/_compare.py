"""Do two engines say the same of one bundle? Its golden text is asked of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsa_edge.errors import VerifyError
from dsa_edge.runtime._engine import Context, Engine, Floats
from dsa_edge.runtime._prompts import no_prefix

__all__ = ["Comparison", "compare_engines"]

TOLERANCE = 0.1  # nats; XNNPACK rounds activations by the row, ONNX Runtime by 32 numbers
LANES, EPSILON = 4, 0.05


@dataclass(frozen=True)
class Comparison:
    """Both engines on the golden text, position by position, with and without an adapter.

    difference: mean divergence of the one's probabilities of the text's tokens from the other's, in
        nats, without adapter.
    adapter_correlation: between what random adapters change on the one and on the other.
    same_choices: share of positions at which both find the same token likeliest.
    """

    difference: float
    adapter_correlation: float
    same_choices: float
    tolerance: float = TOLERANCE


def compare_engines(one: Engine, other: Engine) -> Comparison:
    """Hold two engines of one bundle against each other.

    Raises VerifyError when they differ by more than `TOLERANCE`, EngineError when one does not run.
    """
    first, second = _scores(one), _scores(other)
    difference = float((np.exp(first[0]) * (first[0] - second[0])).sum(-1).mean())
    effects = [(scores[1:] - scores[:1]).ravel() for scores in (first, second)]
    same = first[0].argmax(-1) == second[0].argmax(-1)
    if not difference <= TOLERANCE:
        raise VerifyError(
            f"verify failed in stage 'engines' ({difference:.3g} nats between {one.name} and "
            f"{other.name}, tolerance {TOLERANCE}): export the bundle again."
        )
    correlation = float(np.corrcoef(effects[0], effects[1])[0, 1])
    return Comparison(difference, correlation, float(same.mean()))


def _scores(engine: Engine) -> Floats:
    """Log-probabilities (L, B, C) of the golden text's tokens after each of its beginnings."""
    manifest = engine.bundle.manifest
    ids = np.array([*manifest.golden.prompt_ids, *manifest.golden.expected_ids])
    rows = manifest.adapter.invocation
    ends = np.arange(rows + 1, len(ids) + 1)
    prompts = np.zeros((len(ends), len(ids)), dtype=np.int64)
    for at, end in enumerate(ends):
        prompts[at, : end - rows] = ids[: end - rows]
    tails = np.stack([ids[end - rows : end] for end in ends])
    prefix, lengths, first = no_prefix(manifest), ends - rows, manifest.split_layer
    filled = engine.prefill(prefix, prompts, tails, lengths)
    context = Context(
        prefix.from_layer(first),
        filled.hidden,
        filled.keys[first:],
        filled.values[first:],
        lengths,
    )
    signs = np.random.default_rng(0).choice([-EPSILON, EPSILON], (LANES, manifest.adapter_size))
    signs[0] = 0
    return engine.choose(context, signs.astype(np.float32), np.unique(ids))
