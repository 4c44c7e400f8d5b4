"""First order in torch on our own activated core, with the same cached prompts.

The runtime's own fit by exact gradients, except that torch's autograd has them, in float32 over
weights that were de-quantized once: the strongest rival. What a device lacks for it: torch (its
wheel alone is larger than base and app together), weights in floats, and a backward pass for each
operator of each engine.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _contract import Job, answer
from _fits import fitted
from _torch_engine import TorchEngine, adapted, dense_decoder

from dsa_edge.bundle import Bundle
from dsa_edge.runtime import SharedBase


def run(job: Job) -> dict[str, Any]:
    """A fit of a new user."""
    torch.set_num_threads(job.threads)
    job = replace(job, settings={"estimator": "exact", **job.settings})
    bundle = Bundle.open(job.bundle, check_hashes=False)
    engine = TorchEngine(*adapted(bundle, bundle.manifest.adapter, dense_decoder(bundle)))
    with tempfile.TemporaryDirectory() as store, SharedBase(engine) as base:
        return fitted(job, base.user(Path(store) / "user"))


if __name__ == "__main__":
    answer(run)
