"""Secure aggregation by Flower's SecAgg+ (Bell et al., CCS 2020): a server sees sums alone.

Flower has SecAgg+ for its older strategies, so a round is one of those here; what a client does
in it is the same. A server that sees no single update can refuse none: this or a trimmed mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.typing import Scalar
from flwr.compat.common.recorddict_compat import fitres_to_recorddict
from flwr.server import LegacyContext, ServerConfig
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

from dsa_edge.errors import FederationError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated._local import packed_start
from dsa_edge.runtime.federated._records import REQUEST, UPDATE
from dsa_edge.runtime.federated._round import Limits, Round
from dsa_edge.runtime.federated._start import StartFile
from dsa_edge.runtime.federated._update import sum_move
from dsa_edge.runtime.federated._wire import entered

__all__ = ["secure_mods", "secure_server_app"]

LEVELS = 2**16  # that a value of −1 … 1 has on the way
MODULUS = 2**32  # masks are below it, and so is the sum of 65,536 clients


def secure_mods(limits: Limits) -> list[Mod]:
    """Mods of a client whose updates are masked."""

    def unpacked(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        told = message.content.config_records["fitins.config"]
        asked = entered(RecordDict({REQUEST: told}), message, context, limits)
        if asked.kind != "sums":
            raise FederationError(f"{asked.kind} are no sums, expected kind 'sums': correct it.")
        reply = call_next(message, context)
        values = reply.content.array_records[UPDATE].to_numpy_ndarrays()
        found = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(values), 1, {})
        return Message(fitres_to_recorddict(found, False), reply_to=message)

    return [secaggplus_mod, unpacked]


def secure_server_app(
    bundle: str | Path,
    start: str | Path,
    rounds: int = 50,
    sample: int = 10,
    asked: Round | None = None,
    beta: float = 1.0,
    shares: float = 1.0,
    threshold: float = 0.5,
    timeout: float = 600.0,
) -> ServerApp:
    """A Flower server as `server_app` makes it, to which single updates stay unknown.

    shares: of a round's clients that hold a piece of each one's key; threshold: of these that
    must stay, so that the masks of those who left can be taken away. Clients: `client_app` with
    `secure=True`. Raises as `server_app`.
    """
    file = StartFile(bundle, start, asked)
    if file.asked.kind != "sums":
        raise FederationError(f"kind is {file.asked.kind!r}, expected 'sums', which add up.")
    masked = SecAggPlusWorkflow(
        shares, threshold, max_weight=1.0, clipping_range=1.0, quantization_range=LEVELS,
        modulus_range=MODULUS, timeout=timeout,
    )  # fmt: skip
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = _SumStep(file, sample, beta)
        legacy = LegacyContext(context, ServerConfig(num_rounds=rounds), strategy)
        DefaultWorkflow(fit_workflow=masked)(grid, legacy)

    return app


class _SumStep(FedAvg):
    """The meta-step by a mean that nobody has seen the parts of."""

    def __init__(self, file: StartFile, sample: int, beta: float) -> None:
        nothing = ndarrays_to_parameters([np.zeros(file.asked.size, dtype=np.float32)])
        super().__init__(
            min_available_clients=sample, fraction_evaluate=0.0, initial_parameters=nothing
        )
        self._file, self._sample, self._beta = file, sample, beta
        self._start, self._nothing = file.first, nothing

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """Ask some clients."""
        self._round = self._file.asked.at(server_round)
        told: dict[str, Scalar] = {**self._round.to_dict(), "start": packed_start(self._start)}
        chosen = client_manager.sample(self._sample, self._sample)
        return [(client, FitIns(self._nothing, told)) for client in chosen]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[ClientProxy, FitRes]], failures: object
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        """Move the start by the mean, which every result holds."""
        if results:
            mean: Floats = parameters_to_ndarrays(results[0][1].parameters)[0]
            move = sum_move(mean, self._round, self._start.size)
            self._start = (self._start + np.float32(self._beta) * move).astype(np.float32)
            self._file.save(server_round, self._start)
        return self._nothing, {}
