"""Rows that each have an adapter: every kind, both engines, with our kernels and without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.exporters import export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import build_decoder
from dsa_edge.exporters.methods import Chains
from dsa_edge.exporters.model import AdaptedModel, TorchCaller
from dsa_edge.kernels.library import library_path
from dsa_edge.kinds import KINDS
from dsa_edge.runtime import SharedBase, _onnx_engine
from dsa_edge.runtime._engine import Context, Engine, Floats
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._prompts import no_prefix

ROWS = 4
CANDIDATES = np.array([3, 9, 50])
# A batch's products sum a row's terms in another order than the row alone does.
SAME = 2e-5
# Activations in int8: one that falls to the other side of a level changes what follows. XNNPACK's
# have one scale a row, which makes a level of a random model's outputs coarse.
ROUNDED, COARSE = 0.01, 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_own_adapters_are_the_diagonal_of_lanes(
    kind: str, tiny_checkpoint: Callable[[str], Path]
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    spec = AdapterSpec(kind, {"kron": 4}.get(kind, min(KINDS[kind].rank, 4)))
    model = AdaptedModel(build_decoder(source, "int8"), spec).eval()
    layers, geometry = model.decoder.spec.n_layers, model.decoder.spec
    for layer in range(model.split, layers):
        model.add_blocks(layer)
    frame_of = tuple(geometry.frame_of(i) for i in range(layers))
    chains = Chains(TorchCaller(model), layers, model.split, 1, frame_of)
    random = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, 200, (ROWS, 5), generator=random)
    response = torch.randint(0, 200, (ROWS, 3), generator=random)
    lengths = torch.tensor([5, 3, 4, 5])
    empty = torch.zeros(layers, 1, geometry.n_kv_heads, 0, geometry.head_dim).half()
    adapters = model.start() + 0.1 * torch.randn(ROWS, model.size, generator=random)
    with torch.no_grad():
        made = chains.prefill(prompt, response, lengths, empty, empty)
        caches = [c[model.split :] for c in (empty, empty, made["keys"], made["values"])]
        given, candidates = (made["hidden"], *caches, lengths), torch.from_numpy(CANDIDATES)
        mixed = chains.choose(*given, torch.zeros(1), adapters, candidates)["log_probs"]
        lanes = chains.choose(*given, torch.zeros(ROWS), adapters, candidates)["log_probs"]
        both = torch.cat([adapters, adapters.flip(0)])  # two lanes of rows with their own
        twice = chains.choose(*given, torch.zeros(2), both, candidates)["log_probs"]
    own = lanes[torch.arange(ROWS), torch.arange(ROWS)]
    assert (own - own[:1]).abs().max() > 0.01
    torch.testing.assert_close(mixed[0], own, atol=SAME, rtol=0)
    torch.testing.assert_close(twice[0], own, atol=SAME, rtol=0)
    turned = lanes[torch.arange(ROWS).flip(0), torch.arange(ROWS)]
    torch.testing.assert_close(twice[1], turned, atol=SAME, rtol=0)


@pytest.fixture(scope="module")
def lora(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "lora.dsa"
    export(tiny_checkpoint("llama"), path, adapter=AdapterSpec("lora", 4), accuracy_level=0)
    return path


@pytest.mark.parametrize("name", ["bundle", "other_bundle", "lora"])
@pytest.mark.parametrize("kernels", [True, False])
def test_on_onnx_runtime(
    name: str, kernels: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels and library_path("dsa_onnxruntime") is None:
        pytest.skip("the kernels are not built")
    if not kernels:
        monkeypatch.setattr(_onnx_engine, "library_path", lambda _: None)
    assert_rows_are_their_own(OnnxEngine(Bundle.open(request.getfixturevalue(name))), ROUNDED)


@pytest.mark.skipif(library_path("dsa_executorch") is None, reason="its kernels are not built")
@pytest.mark.parametrize("kind", ["core", "lora"])
def test_on_executorch(kind: str, tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    from dsa_edge.runtime._executorch_engine import ExecutorchEngine

    path, spec = tmp_path / "b.dsa", AdapterSpec(kind, 4)
    export(tiny_checkpoint("llama"), path, ("executorch",), adapter=spec, check=False)
    engine = ExecutorchEngine(Bundle.open(path))
    whole = assert_rows_are_their_own(engine, COARSE)
    object.__setattr__(engine.info, "rows", 5)  # two rows of a batch at a time
    parts = assert_rows_are_their_own(engine, COARSE)
    np.testing.assert_allclose(parts, whole, atol=COARSE)
    with SharedBase.open(path, backend="executorch", check_hashes=False) as base:
        rows = [(base.user(tmp_path / str(number)), "The quiet") for number in range(3)]
        for number, (user, _) in enumerate(rows):
            user.use_adapter(random_adapter(engine, number))
        texts, found = base.generate(rows, 4), base.choose(rows, (" a", " b"))
        for row, text, choice in zip(rows, texts, found, strict=True):
            assert base.generate([row], 4) == [text]
            shares = base.choose([row], (" a", " b"))[0].probabilities
            np.testing.assert_allclose(choice.probabilities, shares, atol=COARSE)


def random_adapter(engine: Engine, seed: int) -> Adapter:
    size = engine.bundle.manifest.adapter_size
    numbers = np.random.default_rng(seed).standard_normal(size) * 0.05
    return Adapter(numbers.astype(np.float32))


def assert_rows_are_their_own(engine: Engine, tolerance: float) -> Floats:
    """Choices, losses and tokens of mixed rows are those of each row alone; returns the choices."""
    assert engine.mixes
    context, decoding = prompts(engine)
    size, random = engine.bundle.manifest.adapter_size, np.random.default_rng(1)
    scale = (0.3 if tolerance == ROUNDED else 1.5) / engine.bundle.manifest.slots[0].size ** 0.5
    adapters = (random.standard_normal((ROWS, size)) * scale).astype(np.float32)
    rows = context.hidden.shape[:2]
    targets, weights = random.integers(0, 200, rows), np.zeros(rows, np.float32)
    weights[:, -1] = 1
    own = replace(context, each=True)
    chosen = engine.choose(own, adapters, CANDIDATES)
    losses = engine.probe(own, adapters, targets, weights)
    logits = engine.decode(*decoding(slice(None)), adapters).logits
    assert np.abs(engine.choose(context, adapters[:1], CANDIDATES)[0, 1:] - chosen[0, 1:]).max() > (
        2 * tolerance
    )
    for at in range(ROWS):
        row = slice(at, at + 1)
        alone, given = context.some(row), (targets[row], weights[row])
        expected = engine.choose(alone, adapters[row], CANDIDATES)
        np.testing.assert_allclose(chosen[:, row], expected, atol=tolerance)
        expected = engine.probe(alone, adapters[row], *given)
        np.testing.assert_allclose(losses[:, row], expected, atol=tolerance)
        expected = engine.decode(*decoding(row), adapters[row]).logits
        np.testing.assert_allclose(logits[row], expected, atol=tolerance * expected.std())
    return chosen


def prompts(engine: Engine) -> tuple[Context, Callable[[slice], Any]]:
    """Four cached prompts for `choose` and `probe`, and what `decode` takes of some of them."""
    manifest, random = engine.bundle.manifest, np.random.default_rng(0)
    ids = random.integers(0, 200, (ROWS, 9))
    tails = random.integers(0, 200, (ROWS, manifest.adapter.invocation))
    lengths, empty, split = np.array([9, 4, 7, 5]), no_prefix(manifest), manifest.split_layer
    filled = engine.prefill(empty, ids, tails, lengths)
    caches = filled.keys[split:], filled.values[split:]

    def decoding(rows: slice) -> Any:
        keys, values = filled.keys[:, rows], filled.values[:, rows]
        return tails[rows], empty, keys, values, lengths[rows]

    return Context(empty.from_layer(split), filled.hidden, *caches, lengths), decoding
