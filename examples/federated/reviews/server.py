"""The organisation's server: a trimmed mean against poison, or noise for privacy."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    Strategy,
)

from dsa_edge.runtime.federated import sampling, server_app

CLIP = 2.0  # norm of an update's 256 values, each −1 … 1

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds; the start is written after each of them."""
    own = context.run_config
    sample, noise = int(own["sample"]), float(own["noise"])
    server_app(
        str(own["bundle"]), str(own["start"]), int(own["rounds"]), sample,
        inner=private(sample, noise) if noise else None,
    )(grid, context)  # fmt: skip


def private(sample: int, noise: float) -> Strategy:
    """Flower's mean of clipped updates with Gaussian noise."""
    mean = FedAvg(**sampling(sample))
    return DifferentialPrivacyServerSideFixedClipping(mean, noise, CLIP, sample)
