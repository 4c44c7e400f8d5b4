"""dsa-edge on ONNX Runtime, as on a device: `fit` with its default settings.

settings: none, or `estimator` (`exact` wants a bundle with `--gradients`) and `steps`.
"""

from __future__ import annotations

import tempfile
from typing import Any

from _contract import Job, answer
from _fits import fitted

from dsa_edge.runtime import Personalizer


def run(job: Job) -> dict[str, Any]:
    """A fit of a new user."""
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(job.bundle, store, threads=job.threads, check_hashes=False) as me,
    ):
        return fitted(job, me)


if __name__ == "__main__":
    answer(run)
