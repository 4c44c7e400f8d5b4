"""What tests of a shared base have in common: prompts, adapters, and what counts as the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.runtime import Choice, Example, Hyperparameters, Personalizer, SharedBase

# Beside other rows a prompt's products are summed in another order (1e-6 of a logit), and a key or
# a value of the cache may then round to float16's other neighbour, which is 1e-3 of it away.
SAME = 1e-3
SINGLE = (" a", " b", " t")
LONG = (" the film", " bread", " a warm garden")
PROMPTS = ["He did not", "The quiet baker opens early and sells", "Rain", "Rain fell on the", "He"]


EXAMPLES = [Example(p, SINGLE[i % 2], SINGLE) for i, p in enumerate(PROMPTS * 4)]
HYPER = Hyperparameters(queries=2, batch=4)


def adapter(bundle: Path, seed: int) -> Adapter:
    """An adapter that changes what the tiny base says."""
    size = Personalizer.open(bundle).bundle.manifest.adapter_size
    numbers = np.random.default_rng(seed).standard_normal(size) * 0.2
    return Adapter(numbers.astype(np.float32), {" a": 0.3 * seed, " b": -0.2, " t": 0.0})


def alone(bundle: Path, store: Path) -> Personalizer:
    return Personalizer.open(bundle, store)


def assert_same(found: Choice, expected: Choice) -> None:
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=SAME)


def adapter_like(base: SharedBase, number: int) -> Adapter:
    return Adapter(np.full(base.bundle.manifest.adapter_size, number / 100, np.float32))
