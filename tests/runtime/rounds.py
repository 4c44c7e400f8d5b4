"""A server that ran over some clients in this process, and the start that it left. Needs Flower."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from crowd import asked_of

from dsa_edge.runtime import SharedBase
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated import LocalGrid, server_app
from dsa_edge.start import load_start


class Run:
    """A server that ran over some clients, all of them in each round."""

    def __init__(
        self, base: SharedBase, folder: Path, answering: Sequence[Any], rounds: int = 2,
        kind: str = "sums", **options: Any,
    ) -> None:  # fmt: skip
        random.seed(0)  # Flower draws the clients, and so their order
        self.file, self.grid = folder / "start.safetensors", LocalGrid(answering)
        self.app = server_app(
            base.bundle.path, self.file, rounds, len(answering), asked=asked_of(base, kind),
            **options,
        )  # fmt: skip
        self.grid.serve(self.app)
        self.base = base

    @property
    def start(self) -> Floats:
        return load_start(self.file).vector


def zero_of(base: SharedBase) -> Floats:
    return np.zeros(base.bundle.manifest.adapter_size, np.float32)
