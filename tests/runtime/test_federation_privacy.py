"""Flower's own differential privacy and secure aggregation, over our clients and server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd import asked_of, clients, stub_base, unseen_loss, user

from dsa_edge.errors import FederationError
from dsa_edge.runtime import SharedBase
from dsa_edge.runtime._engine import Floats
from dsa_edge.start import load_start

pytest.importorskip("flwr", reason="needs Flower: pip install 'dsa-edge[federated]'")
from flwr.app import Context, Message
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from rounds import Run, zero_of

from dsa_edge.runtime.federated import (
    LocalGrid,
    client_app,
    sampling,
    secure_server_app,
)

Answering = Callable[[Message, Context], Message | None]


@pytest.fixture(scope="module")
def base(bundle: Path) -> SharedBase:
    return stub_base(bundle)


def test_flowers_noise_on_the_server_is_part_of_the_start(base: SharedBase, tmp_path: Path) -> None:
    np.random.seed(0)  # Flower draws its noise from there
    crowd, starts = clients(base, 3), {}
    for noise in (0.0, 1.0):
        inner = DifferentialPrivacyServerSideFixedClipping(FedAvg(**sampling(3)), noise, 0.5, 3)
        (tmp_path / str(noise)).mkdir()
        starts[noise] = Run(base, tmp_path / str(noise), crowd, rounds=1, inner=inner).start
    assert unseen_loss(base, starts[0.0]) < unseen_loss(base, zero_of(base))
    assert np.linalg.norm(starts[1.0]) > 1.5 * np.linalg.norm(starts[0.0])


def test_flowers_clipping_and_noise_on_the_client_fit_into_the_same_bytes(
    base: SharedBase, tmp_path: Path
) -> None:
    np.random.seed(0)
    sent: dict[str, Floats] = {}

    def watched(name: str, app: Any) -> Answering:
        def answer(message: Message, context: Context) -> Message:
            reply = app(message, context)
            values = np.frombuffer(reply.content["update"]["values"], "<i2")
            sent[name] = values.astype(np.float32) / 32767
            return reply

        return answer

    noised = client_app(
        lambda context: (base, user(1)),
        mods=[fixedclipping_mod, LocalDpMod(0.25, 0.25, epsilon=5.0, delta=1e-3)],
    )
    clipped = client_app(lambda context: (base, user(1)), mods=[fixedclipping_mod])
    crowd = [watched("clipped", clipped), watched("noised", noised)]
    inner = DifferentialPrivacyClientSideFixedClipping(FedAvg(**sampling(2)), 0.0, 0.5, 2)
    run = Run(base, tmp_path, crowd, rounds=1, inner=inner)
    assert max(run.grid.traffic.up) <= 1024
    assert np.linalg.norm(sent["clipped"]) == pytest.approx(0.5, abs=1e-3)
    assert np.linalg.norm(sent["noised"]) == pytest.approx(0.5, abs=1e-3)  # then clipped as well
    cosine = sent["clipped"] @ sent["noised"] / 0.25
    assert cosine < 0.9


def test_secure_aggregation_gives_the_mean_of_updates_that_nobody_saw(
    base: SharedBase, tmp_path: Path
) -> None:
    plain = Run(base, tmp_path, clients(base, 4), rounds=1, inner=FedAvg(**sampling(4))).start
    masked: list[bytes] = []
    app = clients(base, 1, secure=True)[0]

    def watched(message: Message, context: Context) -> Message:
        reply = app(message, context)
        stage = reply.content.config_records["secaggplus_configs"]
        masked.extend(stage.get("masked_params", []))
        return reply

    grid = LocalGrid([watched] * 4)
    file = tmp_path / "masked.safetensors"
    grid.serve(secure_server_app(base.bundle.path, file, 1, 4, asked_of(base)))
    found = load_start(file).vector
    # 2^16 levels in −1 … 1 and int16 round differently, by up to 3e-5 of the clip.
    np.testing.assert_allclose(found, plain, atol=1e-3 * np.abs(plain).max())
    assert len(set(masked)) == len(masked) == 8  # four weights and four vectors, none like another
    assert max(grid.traffic.up) < 8 * 64 + 2048  # int64 for each value, and keys


def test_secure_aggregation_takes_sums_alone(base: SharedBase, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="'journals', expected 'sums'"):
        secure_server_app(base.bundle.path, tmp_path / "s", asked=asked_of(base, "journals"))
