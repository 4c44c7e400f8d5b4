"""Does an engine say what its bundle recorded? Its golden text, and an adapter that must act."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsa_edge.errors import VerifyError
from dsa_edge.runtime._engine import Engine, Floats
from dsa_edge.runtime._prompts import no_prefix

__all__ = ["EngineCheck", "check_engine"]

# Engines round activations differently, so two tokens that are nearly as likely may change places.
MARGIN = 0.5  # nats
MOVED = 1e-5  # of the likeliest token's logit


@dataclass(frozen=True)
class EngineCheck:
    """One engine on the golden text.

    same, tokens: how many of the recorded tokens it finds likeliest itself, each after the ones
        before it. margin: how much less likely than its own choice the worst of them is, in nats.
    moved: what one changed entry of the adapter does to a logit.
    """

    engine: str
    same: int
    tokens: int
    margin: float
    moved: float
    tolerance: float = MARGIN


def check_engine(engine: Engine) -> EngineCheck:
    """Run the golden text.

    Raises VerifyError when a recorded token is out of reach, or the adapter does nothing;
    EngineError when the engine does not run.
    """
    golden, size = engine.bundle.manifest.golden, engine.bundle.manifest.adapter_size
    adapter = np.zeros((1, size), dtype=np.float32)
    logits = _golden_logits(engine, adapter)
    adapter[:] = 0.1  # zeros change nothing, whatever the kind; these do
    moved = float(np.abs(_golden_logits(engine, adapter, 1) - logits[:1]).max())
    expected = np.array(golden.expected_ids)
    margins = logits.max(-1) - logits[np.arange(len(expected)), expected]
    worst, same = float(margins.max()), int((margins == 0).sum())
    if not worst <= MARGIN or not moved > MOVED:
        raise VerifyError(
            f"verify failed in stage 'golden on {engine.name}' (a recorded token is {worst:.3g} "
            f"nats below the likeliest, tolerance {MARGIN}; an adapter moves a logit "
            f"by {moved:.1e}, expected more than {MOVED}): export the bundle again."
        )
    return EngineCheck(engine.name, same, len(expected), worst, moved)


def _golden_logits(engine: Engine, adapter: Floats, tokens: int | None = None) -> Floats:
    """Logits (tokens, V) before each recorded token, the true ones given."""
    manifest = engine.bundle.manifest
    golden, rows, prefix = manifest.golden, manifest.adapter.invocation, no_prefix(manifest)
    prompt = np.array(golden.prompt_ids)[None]
    length = np.array([prompt.shape[1] - rows])
    filled = engine.prefill(prefix, prompt[:, :-rows], prompt[:, -rows:], length)
    keys, values, given = filled.keys, filled.values, prompt[:, -rows:]
    logits = []
    for token in golden.expected_ids[:tokens]:
        length = np.array([keys.shape[3]])
        out = engine.decode(given, prefix, keys, values, length, adapter)
        logits.append(out.logits[0])
        keys = np.concatenate([keys, out.new_keys], 3)
        values = np.concatenate([values, out.new_values], 3)
        given = np.array([[token]])
    return np.stack(logits)
