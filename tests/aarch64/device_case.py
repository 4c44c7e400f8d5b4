"""What a user's device does with a bundle: choose, learn, look again, replay; told as JSON.

Run as it is on this machine and, under an emulator, by the Python of another processor.
use:  device_case.py BUNDLE STORE [OTHER_STORE]
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from typing import Any

import onnxruntime

from dsa_edge.runtime import Adapter, Budget, Example, Hyperparameters, Personalizer

CHOICES = (" great", " terrible")
TEXTS = ("a warm film", "a dull film", "the children laughed", "slow and long") * 3
EXAMPLES = [Example(f"{text} {i}:", CHOICES[i % 2], CHOICES) for i, text in enumerate(TEXTS)]
STEPS = 4
SMALL = Hyperparameters(queries=2, batch=4)  # 4 lanes: an emulator takes 50 times as long


def case(bundle: str, store: str) -> dict[str, Any]:
    """Personalize a bundle in a new store."""
    with Personalizer.open(bundle, store, backend="onnx", threads=1) as me:
        before = me.choose(TEXTS[0], CHOICES).probabilities
        report = me.fit(EXAMPLES, Budget(steps=STEPS), hyperparameters=SMALL, seed=7)
        return {
            "machine": platform.machine(),
            "engine": me.engine,
            "onnxruntime": onnxruntime.__version__,
            "before": before,
            "after": me.choose(TEXTS[0], CHOICES).probabilities,
            "verdict": report.verdict,
            "losses": [report.before.loss, report.after.loss],
            "slopes": [list(map(float, step.slopes)) for step in me.journal()],
            "text": me.generate(TEXTS[0], max_tokens=4),
        }


def replayed(bundle: str, store: str) -> list[str]:
    """A hash of the adapter after each step of a store's fit, from its journal alone."""
    with Personalizer.open(bundle, store, backend="onnx", threads=1) as me:
        return [_hash(adapter) for adapter in me.replay(range(STEPS + 1))]


def _hash(adapter: Adapter) -> str:
    return hashlib.sha256(adapter.vector.tobytes()).hexdigest()


if __name__ == "__main__":
    bundle, store, *others = sys.argv[1:]
    told = case(bundle, store)
    told["replayed"] = [replayed(bundle, each) for each in (store, *others)]
    print(json.dumps(told))
