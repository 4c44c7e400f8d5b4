"""The gate of a start: which of several blocks serve a prompt, learned from seen users alone.

At first it is made of clusters of their prompts, as a device makes one (`dsa_edge/clusters.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dsa_edge.adapter import AdapterSpec
from dsa_edge.clusters import clustered
from dsa_edge.exporters.training.meta._prompts import Reader
from dsa_edge.exporters.training.meta._settings import MetaSettings
from dsa_edge.exporters.training.meta._users import User
from dsa_edge.gate import Gate

__all__ = ["counted", "first_gate", "sampled"]

SAMPLE = 5  # stream of which of a user's prompts are read for the gate
MOST = 4096  # prompts that a gate is made of
OF_USER = 32  # of one user at most, so that nobody's mails are the clusters

Floats = NDArray[np.float32]


def sampled(reader: Reader, seen: Sequence[User], settings: MetaSettings) -> Floats:
    """Pooled states (E, D) of a few prompts of every user, up to `MOST` in all, one each at least.

    It follows from the seed and the user's key alone, as all that is drawn.
    """
    share = min(OF_USER, max(1, MOST // len(seen)))
    found = []
    for user in seen:
        examples = user.examples[: settings.examples]
        random = np.random.default_rng([settings.seed, SAMPLE, int(user.key, 16)])
        some = random.permutation(len(examples))[:share]
        found.append(reader.prompts([examples[at] for at in some]).pooled)
    return np.concatenate(found)


def first_gate(pooled: Floats, spec: AdapterSpec, seed: int) -> Gate:
    """The clusters of pooled states (E, D), with how many of them each block serves."""
    return counted(clustered(pooled, spec.blocks, seed), pooled, spec.active)


def counted(gate: Gate, pooled: Floats, active: int) -> Gate:
    """A gate with how many of the prompts (E, D) each block serves."""
    return replace(gate, served=gate.route(pooled, active).served(gate.blocks))
