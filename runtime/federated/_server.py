"""The server as a Flower app: rounds of meta-steps, and the start as a file after each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedTrimmedAvg, Strategy

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated._records import ADAPTER
from dsa_edge.runtime.federated._round import Round
from dsa_edge.runtime.federated._start import StartFile
from dsa_edge.runtime.federated._strategy import MetaStep

__all__ = ["sampling", "server_app"]

TRIMMED = 0.2  # of the values at either end, for two poisoned clients of ten


def server_app(
    bundle: str | Path,
    start: str | Path,
    rounds: int = 50,
    sample: int = 10,
    inner: Strategy | None = None,
    asked: Round | None = None,
    beta: float = 1.0,
    least: int = 2,
    timeout: float = 600.0,
    on_round: Callable[[int, Floats], dict[str, float]] | None = None,
) -> ServerApp:
    """A Flower server that improves a bundle's start.

    bundle: the folder that all clients have. start: file to write after each round, which
    `export --start` puts into the next bundle; if it is there already, the rounds go on from it.
    rounds, sample: how many, and clients in each. inner: Flower's strategy that samples clients
    and aggregates their updates, by default a trimmed mean without the fifth of the values at
    either end; it may be wrapped for differential privacy. asked: by default what suits choices,
    with directions that nobody knows before. beta: share of the aggregate that the start moves by
    in the first round; it falls linearly to zero, as in Reptile (1803.02999), or the start would
    learn the clients' few examples by heart. least: as of `MetaStep`. timeout: seconds to wait for
    a round's clients; who is later is left out. on_round: returns figures of a start
    (n,), the first one's with round 0.
    Raises BundleError, AdapterError for a start of another bundle, FederationError for a bundle of
    several blocks, and UsageError.
    """
    if rounds < 1 or sample < 1 or not 0 < beta <= 10 or not timeout > 0:
        raise UsageError(
            f"rounds is {rounds}, sample {sample}, beta {beta} and timeout {timeout}, expected at "
            "least 1 round and client, 0 < beta ≤ 10 and a positive timeout."
        )
    file = StartFile(bundle, start, asked)
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        robust = FedTrimmedAvg(**sampling(sample), beta=TRIMMED)
        strategy = MetaStep(
            inner or robust, file.manifest, file.asked, falling(beta, rounds), least=least,
            on_start=file.save,
        )  # fmt: skip
        strategy.start(
            grid, ArrayRecord({ADAPTER: Array(file.first)}), rounds, timeout,
            evaluate_fn=on_round and _figures(on_round),
        )  # fmt: skip

    return app


def falling(beta: float, rounds: int) -> Callable[[int], float]:
    """β of a round, from 1 on: all of it in the first, and nearly nothing in the last."""
    return lambda server_round: beta * max(0.0, 1 - (server_round - 1) / rounds)


def sampling(clients: int) -> dict[str, Any]:
    """Arguments by which one of Flower's strategies asks so many clients a round to learn.

    Flower takes a share of all and no fewer than a number: here the number alone decides.
    """
    return {
        "fraction_train": 1e-9, "min_train_nodes": clients, "min_available_nodes": clients,
        "fraction_evaluate": 0.0,
    }  # fmt: skip


def _figures(
    on_round: Callable[[int, Floats], dict[str, float]],
) -> Callable[[int, ArrayRecord], MetricRecord]:
    def evaluated(number: int, arrays: ArrayRecord) -> MetricRecord:
        return MetricRecord(dict(on_round(number, arrays[ADAPTER].numpy().astype(np.float32))))

    return evaluated
