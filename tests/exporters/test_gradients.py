"""Exact gradients as graphs: against finite differences, for every kind, and through a fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from starts import put_start

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.errors import UsageError
from dsa_edge.exporters import export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import build_decoder
from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import AdaptedModel, TorchCaller
from dsa_edge.exporters.onnx import Session
from dsa_edge.kinds import KINDS
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer

WORDS = ["quiet", "baker", "opens", "early", "warm", "bread", "rain", "river"]
EXAMPLES = [Example(f"say {w}", (" a", " b")[i % 2], (" a", " b")) for i, w in enumerate(WORDS)] * 5
EXACT = Hyperparameters.suited(True, "exact")
# Transposes in 8 bits: half a percent of each product, over two layers and down from the head.
TOLERANCE = 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(
    kind: str, tiny_checkpoint: Callable[[str], Path]
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    spec = AdapterSpec(kind, {"kron": 4}.get(kind, min(KINDS[kind].rank, 4)))
    model = AdaptedModel(build_decoder(source, "int8"), spec, gradients=True).eval()
    layers = model.decoder.spec.n_layers
    for layer in range(model.split, layers):
        model.add_blocks(layer)
    frame_of = tuple(model.decoder.spec.frame_of(i) for i in range(layers))
    chains = Chains(TorchCaller(model), layers, model.split, 1, frame_of)
    random = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, 200, (2, 5), generator=random)
    response = torch.randint(0, 200, (2, 3), generator=random)
    lengths = torch.tensor([5, 3])
    geometry = model.decoder.spec
    empty = torch.zeros(layers, 1, geometry.n_kv_heads, 0, geometry.head_dim).half()
    candidates = torch.tensor([3, 9, 50])
    pull = torch.randn(1, 2, 3, generator=random)
    with torch.no_grad():
        made = chains.prefill(prompt, response, lengths, empty, empty)
        caches = [c[model.split :] for c in (empty, empty, made["keys"], made["values"])]
        theta = model.start() + 0.03 * torch.randn(model.size, generator=random)
        given = (made["hidden"], *caches, lengths)
        gradient = chains.pull_choices(*given, torch.zeros(1), theta[None], candidates, pull)[
            "gradient"
        ][0]
        z = torch.sign(torch.randn(8, model.size, generator=random))
        h = 2e-3
        lanes = torch.cat([theta + h * z, theta - h * z])
        scores = chains.choose(*given, torch.zeros(16), lanes, candidates)["log_probs"]
    values = (scores * pull).sum((1, 2)).double()
    slopes = (values[:8] - values[8:]) / (2 * h)
    found = z.double() @ gradient.double()
    error = float((slopes - found).norm() / slopes.norm())
    assert error < TOLERANCE, (slopes, found)


@pytest.fixture(scope="module")
def with_gradients(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("gradients") / "tiny.dsa"
    export(tiny_checkpoint("llama"), path, accuracy_level=0, gradients=True)
    return path


def test_graphs_give_the_gradient_of_losses(with_gradients: Path) -> None:
    random = np.random.default_rng(0)
    manifest = Bundle.open(with_gradients).manifest
    sessions = {m: Session(with_gradients, m, exact=True) for m in manifest.methods}
    lengths = np.array([5, 3, 4])
    prompt, response = random.integers(0, 200, (3, 5)), random.integers(0, 200, (3, 3))
    cache = sessions["prefill"](prompt=prompt, response=response, lengths=lengths)
    split = manifest.split_layer
    context = {
        "hidden": cache["hidden"],
        "lengths": lengths,
        "keys": cache["keys"][split:],
        "values": cache["values"][split:],
        "targets": random.integers(0, 200, (3, 3)),
        "weights": np.array([[1, 1, 1], [1, 0.5, 0], [0, 0, 1]], dtype=np.float32),
    }
    pull = random.standard_normal((1, 3)).astype(np.float32)
    theta = (0.05 * random.standard_normal((1, manifest.adapter_size))).astype(np.float32)
    gradient = sessions["pull_losses"](**context, adapter=theta, pull=pull)["gradient"][0]
    z, h = random.choice(np.float32([-1, 1]), (8, manifest.adapter_size)), np.float32(2e-3)
    lanes = np.concatenate([theta + h * z, theta - h * z])
    values = (sessions["probe"](**context, adapter=lanes)["losses"] * pull).sum(1, dtype=float)
    slopes = (values[:8] - values[8:]) / (2 * h)
    assert np.linalg.norm(slopes - z @ gradient) < TOLERANCE * np.linalg.norm(slopes)


def test_a_fit_by_exact_gradients_learns_and_replays_to_the_bit(
    with_gradients: Path, tmp_path: Path
) -> None:
    with Personalizer.open(with_gradients, store=tmp_path) as me:
        report = me.fit(EXAMPLES, Budget(steps=30), hyperparameters=EXACT)
        assert report.verdict == "improved"
        assert report.after.loss < 0.7 * report.before.loss
        kept = me.history()[-1].steps
        np.testing.assert_array_equal(me.replay([kept])[0].vector, me.adapter.vector)
        # A journal of a byte a number: numbers of four bytes would be four times as much.
        assert me.store_bytes < 30 * 1.6 * report.adapter_size + 8 * report.adapter_size + 40_000


def test_free_responses_learn_by_exact_gradients(with_gradients: Path) -> None:
    rows = [Example(f"say {w}", f" {w} and rain") for w in WORDS * 4]
    with Personalizer.open(with_gradients) as me:
        hyper = Hyperparameters.suited(False, "exact")
        report = me.fit(rows, Budget(steps=30), hyperparameters=hyper)
        assert report.verdict == "improved"
        assert report.after.loss < report.before.loss - 0.3


def test_exact_gradients_along_directions_are_those_of_axes(
    with_gradients: Path, tmp_path: Path
) -> None:
    path = tmp_path / "learned.dsa"
    shutil.copytree(with_gradients, path)
    put_start(path)
    rows = [Example(f"say {w}", f" {w} and rain") for w in WORDS * 4]
    scalars = []
    for estimator in ("axes", "exact"):
        hyper = replace(Hyperparameters.suited(False, estimator, along=6), epsilon=0.003)
        with Personalizer.open(path) as me:
            me.fit(rows, Budget(steps=1), hyperparameters=hyper)
            (step,) = me._store.journal(me._store.run())
            scalars.append(step.slopes)
            me.replay([1])
    axes = scalars[0]  # in an order that the seed decides
    # 8 bits of the largest for the journal, and the transposes' 8 bits.
    assert np.linalg.norm(np.sort(axes) - np.sort(scalars[1])) < 0.05 * np.linalg.norm(axes)


def test_a_bundle_without_gradients_says_so_before_anything_is_cached(bundle: Path) -> None:
    with Personalizer.open(bundle) as me:
        with pytest.raises(UsageError, match=r"exact needs .*export it with `--gradients`"):
            me.fit(EXAMPLES, Budget(steps=2), hyperparameters=EXACT)
        assert me.fits() == []


@pytest.mark.parametrize(
    "wrong", [{"backends": ("executorch",)}, {"adapter": AdapterSpec(invocation=2)}]
)
def test_gradients_that_no_graph_can_have_are_refused(
    wrong: dict[str, object], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="gradients need the onnx backend and invocation 1"):
        export(tiny_checkpoint("llama"), tmp_path / "b", gradients=True, **wrong)  # type: ignore[arg-type]
