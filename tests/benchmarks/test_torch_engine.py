"""The engine of the comparison gives the losses of the engine that devices run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _sweeper import Sweeper
from _torch_engine import TorchEngine, adapted, dense_decoder
from stub import COMMON, EXAMPLES, fixed_chunks

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.errors import UsageError
from dsa_edge.exporters import export
from dsa_edge.gate import Gate
from dsa_edge.kernels import torch_cuda
from dsa_edge.kernels.torch_adapter import gated_lowrank
from dsa_edge.kinds import KINDS
from dsa_edge.runtime import Budget, Example
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._engine import Engine
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.tokenizer import Tokenizer

FREE = [Example(COMMON + "and", " the garden was green"), Example("He did", " not like it")]


def engine(path: Path, activations: str = "float32", spec: AdapterSpec | None = None) -> Engine:
    bundle = Bundle.open(path, check_hashes=False)
    decoder = dense_decoder(bundle, activations)
    return TorchEngine(*adapted(bundle, spec or bundle.manifest.adapter, decoder))


def encoder(engine: Engine) -> Encoder:
    return Encoder(Tokenizer.of(engine.bundle), engine.bundle.manifest)


def losses(
    engine: Engine, examples: list[Example], adapters: np.ndarray, routes: np.ndarray | None = None
) -> np.ndarray:
    encoded = encoder(engine).encode_all(examples)
    cache = PromptCache(engine, items_of(encoded), fixed_chunks())
    objective, batch = Objective(engine, encoded, cache, fixed_chunks()), np.arange(len(examples))
    if routes is not None:
        shape = engine.bundle.manifest.gate_shape or (1, 1)
        objective.route_by(Gate(np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)))
        objective.route_as(batch, routes)
    return objective(batch, adapters).losses


def adapters(engine: Engine, count: int = 3) -> np.ndarray:
    shape = (count, engine.bundle.manifest.adapter_size)
    return (np.random.default_rng(0).standard_normal(shape) * 0.05).astype(np.float32)


@pytest.mark.parametrize("examples", [EXAMPLES, FREE], ids=["choose", "probe"])
def test_losses_are_those_of_onnx_runtime(bundle: Path, examples: list[Example]) -> None:
    ours, device = engine(bundle), OnnxEngine(Bundle.open(bundle))
    lanes = adapters(ours)
    np.testing.assert_allclose(
        losses(ours, examples, lanes), losses(device, examples, lanes), atol=2e-4
    )


@pytest.fixture(scope="module")
def gated(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of three blocks, one of which serves each example."""
    spec = AdapterSpec(rank=4, blocks=3)
    out = tmp_path_factory.mktemp("gated") / "gated.dsa"
    export(tiny_checkpoint("llama"), out, adapter=spec, accuracy_level=0)
    return out


@pytest.mark.parametrize("examples", [EXAMPLES, FREE], ids=["choose", "probe"])
def test_routes_are_those_of_onnx_runtime(gated: Path, examples: list[Example]) -> None:
    ours, device = engine(gated), OnnxEngine(Bundle.open(gated))
    routes, lanes = np.arange(len(examples))[:, None] % 3, adapters(ours)
    found = [losses(one, examples, lanes, routes) for one in (ours, device)]
    np.testing.assert_allclose(*found, atol=2e-4)
    turned = losses(ours, examples, lanes, (routes + 1) % 3)
    assert np.abs(turned - found[0]).max() > 0.01


@pytest.mark.parametrize("examples", [EXAMPLES, FREE], ids=["choose", "probe"])
def test_rounding_in_groups_is_what_onnx_runtime_does(
    other_bundle: Path, examples: list[Example]
) -> None:
    device = OnnxEngine(Bundle.open(other_bundle))
    rounded, exact = engine(other_bundle, "group"), engine(other_bundle)
    lanes = adapters(rounded)
    expected = losses(device, examples, lanes)
    near = np.abs(losses(rounded, examples, lanes) - expected).mean()
    far = np.abs(losses(exact, examples, lanes) - expected).mean()
    assert near < far / 2
    assert near < 2e-3


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("estimator", ["antithetic", "exact"])
def test_a_kind_that_was_not_exported_learns(bundle: Path, kind: str, estimator: str) -> None:
    spec = AdapterSpec(kind, rank={"kron": 8, "core": 4}.get(kind, min(4, KINDS[kind].rank)))
    me = Sweeper(engine(bundle, spec=spec), {})
    assert me.bundle.manifest.adapter == spec
    hyper = replace(Hyperparameters.suited(True, estimator), queries=2, batch=4, cooldown=0.0)
    report = me.fit(EXAMPLES * 4, Budget(steps=3), hyperparameters=hyper)
    assert report.steps == 3
    start, end = me.replay([0, 3])
    assert (start.vector != end.vector).any()
    assert len(me.evaluate(EXAMPLES, [0, end])) == 2


@pytest.mark.parametrize(
    "norms", [("attention_norm",), ("mlp_norm",), ("attention_norm", "mlp_norm")]
)
def test_norms_learn_alone_and_together(bundle: Path, norms: tuple[str, ...]) -> None:
    spec = AdapterSpec("bias", targets=norms)
    me = Sweeper(engine(bundle, spec=spec), {})
    decoder = me.bundle.manifest.decoder
    adapted_layers = me.bundle.manifest.n_layers - me.bundle.manifest.split_layer
    assert me.bundle.manifest.adapter_size == len(norms) * adapted_layers * decoder["width"]
    me.fit(EXAMPLES * 4, Budget(steps=6))
    before, after = me.evaluate(EXAMPLES, [0, me.replay([6])[0]])
    assert after.loss < before.loss


@pytest.mark.parametrize("kind", ["bias", "core"])
def test_an_embedding_is_no_target(kind: str) -> None:
    with pytest.raises(UsageError, match=r"\['embedding'\] must be .*out of .*correct --targets"):
        AdapterSpec(kind, targets=("embedding",))


@pytest.mark.parametrize("examples", [EXAMPLES, FREE], ids=["choose", "probe"])
def test_shared_prompts_change_no_loss(bundle: Path, examples: list[Example]) -> None:
    made, shared = engine(bundle), {}
    lanes = adapters(made)
    me = Sweeper(made, shared)
    encoded = me._encoder.encode_all(examples)
    for _ in range(2):
        objective = me._objective(encoded, Budget())
        found = objective(np.arange(len(examples)), lanes).losses
        np.testing.assert_allclose(found, losses(made, examples, lanes), atol=1e-5)
    assert len(shared) == 1


@pytest.mark.parametrize("examples", [EXAMPLES, FREE], ids=["choose", "probe"])
def test_shared_prompts_keep_their_routes(gated: Path, examples: list[Example]) -> None:
    made = engine(gated)
    lanes, index, shape = adapters(made), np.arange(len(examples)), made.bundle.manifest.gate_shape
    assert shape is not None
    objective = Sweeper(made, {})._objective(encoder(made).encode_all(examples), Budget())
    objective.route_by(Gate(np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)))
    routes = index[:, None] % 3
    objective.route_as(index, routes)
    found = objective(index, lanes).losses
    np.testing.assert_allclose(found, losses(made, examples, lanes, routes), atol=1e-5)


def test_the_gradient_is_that_of_the_losses(bundle: Path) -> None:
    made = engine(bundle)
    objective = Sweeper(made, {})._objective(encoder(made).encode_all(FREE), Budget())
    batch, theta = np.arange(len(FREE)), adapters(made, 1)[0]
    _, pulls = objective.losses_and_pulls(batch, theta)
    gradient = objective.pulled(batch, theta, pulls)
    step = 1e-3 * np.sign(gradient)
    above, below = objective(batch, np.stack([theta + step, theta - step])).losses.mean(1)
    assert (above - below) / 2e-3 == pytest.approx(float(np.abs(gradient).sum()), rel=0.03)


@pytest.mark.parametrize(("blocks", "factors"), [(1, 1), (3, 3), (3, 1)])
@pytest.mark.parametrize("square", [True, False])
def test_the_operator_for_gpus_is_the_kernel(blocks: int, factors: int, square: bool) -> None:
    lanes, examples, rows, rank = 2, 4, 3, 5
    torch.manual_seed(0)
    core = torch.randn(lanes, blocks, *(rank,) * (1 + square))
    given = (
        torch.randn(lanes, examples, rows, 8), torch.randn(lanes, examples, rows, 6), core,
        torch.randint(blocks, (examples, 2)), torch.rand(examples, 2),
        torch.randn(factors, rank, 6).half(), torch.randn(factors, 8, rank).half(),
        torch.rand(examples, rows) > 0.3,
    )  # fmt: skip
    torch.testing.assert_close(
        torch_cuda.gated_lowrank(*given), gated_lowrank(*given), atol=1e-4, rtol=1e-4
    )
