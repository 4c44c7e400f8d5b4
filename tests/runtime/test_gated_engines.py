"""Routed adapters on both engines, against torch on whole sentences and against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.adapters import Route as TorchRoute
from dsa_edge.gate import Gate, Route
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, Personalizer
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._engine import Context, Floats, Prefix
from dsa_edge.runtime._executorch_engine import ExecutorchEngine
from dsa_edge.runtime._objective import items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._plan import plan_chunks
from dsa_edge.runtime._prompts import mean_of, no_prefix

HAS_EXECUTORCH = bool(find_spec("executorch")) and library_path("dsa_executorch") is not None
EXECUTORCH = pytest.mark.skipif(not HAS_EXECUTORCH, reason="ExecuTorch or its ops are missing")
ENGINES = [
    pytest.param(OnnxEngine, id="onnx"),
    pytest.param(ExecutorchEngine, id="executorch", marks=EXECUTORCH),
]
CHOICES = (" a", " b", " t")
EXAMPLES = [
    Example(f"{text} {word}", CHOICES[at % 2], CHOICES)
    for text in ("Rain fell on the roof all night,", "He did not like the film; it was slow,")
    for at, word in enumerate(("and the garden", "long and", "warm bread"))
]
CANDIDATES = np.array([5, 17, 250])
NATS = 0.02  # what the float16 cache may cost
SHARE = 0.35  # of the deviation: XNNPACK's activations are int8, one scale a row


@pytest.fixture(scope="module", params=["one of three cores", "two of four diagonals"])
def gated(
    request: pytest.FixtureRequest, tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:  # fmt: skip
    from dsa_edge.exporters import export

    spec = AdapterSpec("core", rank=8, blocks=3)
    if request.param != "one of three cores":
        targets = ("q", "o", "down")
        spec = AdapterSpec("diagonal", 8, targets, split=0.3, invocation=2, blocks=4, active=2)
    path = tmp_path_factory.mktemp("gated") / "both.dsa"
    backends = ("onnx", "executorch") if HAS_EXECUTORCH else ("onnx",)
    llama = tiny_checkpoint("llama")
    export(llama, path, backends, adapter=spec, accuracy_level=0)  # verifies, routes included
    return Bundle.open(path, check_hashes=False)


def gate_of(bundle: Bundle) -> Gate:
    shape = bundle.manifest.gate_shape
    assert shape is not None
    weight = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    return Gate(weight, np.zeros(shape[0], np.float32))


def lanes_of(bundle: Bundle, count: int = 3) -> Floats:
    shape = (count, bundle.manifest.adapter_size)
    scale = 0.6 / bundle.manifest.slots[0].size ** 0.5
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def context_of(engine: Any, examples: list[Example] = EXAMPLES) -> Context:
    """The examples' prompts, routed."""
    me = Personalizer.open(engine.bundle.path, check_hashes=False)
    encoded = me._encoder.encode_all(examples)
    chunks = plan_chunks(engine.bundle.manifest, Budget(), False)
    cache = PromptCache(engine, items_of(encoded), chunks)
    cache.route_by(gate_of(engine.bundle))
    return cache.context(np.arange(len(examples)))


def test_a_routed_choice_is_torchs_on_the_whole_sentence(gated: Bundle) -> None:
    engine = OnnxEngine(gated)
    context, lanes, model = context_of(engine), lanes_of(gated), reload_model(gated)
    me = Personalizer.open(gated.path, check_hashes=False)
    assert context.route is not None
    assert len(np.unique(context.route.index)) > 1
    found = engine.choose(context, lanes, CANDIDATES)
    for at, example in enumerate(EXAMPLES):
        ids = torch.tensor([me._tokenizer.encode_prompt(example.prompt)])
        active = torch.arange(ids.shape[1])[None] >= ids.shape[1] - model.adapter.invocation
        own = context.route[slice(at, at + 1)]
        route = TorchRoute(torch.from_numpy(own.index), torch.from_numpy(own.weight), active)
        with torch.no_grad():
            bound = model.lanes(torch.from_numpy(lanes), active, route)
            logits = model.decoder(ids, bound)[:, 0, -1, torch.from_numpy(CANDIDATES)]
        expected = logits.log_softmax(-1).numpy()
        np.testing.assert_allclose(found[:, at], expected, atol=NATS)


@pytest.mark.parametrize("engine_of", ENGINES)
def test_a_gate_reads_the_mean_of_all_tokens_of_a_text_but_its_first(
    gated: Bundle, engine_of: Callable[[Bundle], Any]
) -> None:
    engine, empty = engine_of(gated), no_prefix(gated.manifest)
    prompts, lengths = np.array([[7, 30, 41], [7, 30, 0], [7, 0, 0]]), np.array([3, 2, 1])
    made = engine.prefill(empty, prompts, np.full((3, 1), 5), lengths)
    model = reload_model(gated)
    model.decoder.layers = model.decoder.layers[: model.split]
    with torch.no_grad():
        states = model.decoder.states(torch.tensor(prompts[:1]))[0, 0].numpy()
    scale = SHARE * states.std()  # the engines round activations, torch does not
    np.testing.assert_allclose(made.pooled[0], states[1:].mean(0), atol=scale)
    np.testing.assert_allclose(made.pooled[1], states[1], atol=scale)
    assert np.abs(states.mean(0) - states[1:].mean(0)).max() > 2 * scale
    assert not made.pooled[2].any()
    begun = Prefix(made.keys[:, 2:, :, :1], made.values[:, 2:, :, :1], made.pooled[2])
    after = engine.prefill(begun, prompts[:1, 1:], np.full((1, 1), 5), np.array([2]))
    both = mean_of(begun.pooled, 1, after.pooled[0], 2)
    np.testing.assert_allclose(both, made.pooled[0], atol=scale / 10)  # the first's keys in half
    np.testing.assert_allclose(mean_of(both, 3, 0 * both, 2), both / 2, rtol=1e-6)


@EXECUTORCH
def test_both_engines_route_alike(gated: Bundle) -> None:
    engines = OnnxEngine(gated), ExecutorchEngine(gated)
    lanes, contexts = lanes_of(gated), [context_of(engine) for engine in engines]
    routes = [context.route for context in contexts]
    assert routes[0] is not None
    assert routes[1] is not None
    same = [replace(context, route=routes[0]) for context in contexts]
    first, second = (
        engine.choose(given, lanes, CANDIDATES) for engine, given in zip(engines, same, strict=True)
    )
    for one, other in ((first, second), (first[1:] - first[:1], second[1:] - second[:1])):
        assert np.sqrt(((one - other) ** 2).mean()) < SHARE * one.std()
    assert (routes[0].index == routes[1].index).mean() > 0.6  # rounding moves what is close


@pytest.mark.parametrize("engine", ENGINES)
def test_cores_that_do_not_serve_a_prompt_do_not_matter(gated: Bundle, engine: Any) -> None:
    spec, runs = gated.manifest.adapter, engine(gated)
    context, lane = context_of(runs), lanes_of(gated, 1)
    only = np.tile(np.arange(spec.active) + 1, (len(EXAMPLES), 1))  # not the first block
    context = replace(context, route=Route.of(only))
    changed = lane.copy()
    for slot in gated.manifest.slots:
        if int(slot.name.rpartition(".")[2]) not in only[0]:
            changed[:, slot.offset : slot.offset + slot.size] = 7
    targets = np.full(context.hidden.shape[:2], 5)
    weights = np.zeros(targets.shape, dtype=np.float32)
    weights[:, -1] = 1
    for lanes in (np.concatenate([lane, changed]), np.concatenate([changed, lane])):
        scores = runs.choose(context, lanes, CANDIDATES)
        np.testing.assert_array_equal(scores[0], scores[1])
        losses = runs.probe(context, lanes, targets, weights)
        np.testing.assert_array_equal(losses[0], losses[1])
    served = lane.copy()
    served[:, [s.offset for s in gated.manifest.slots]] += 1
    moved = runs.choose(context, np.concatenate([lane, served]), CANDIDATES)
    assert np.abs(moved[1] - moved[0]).max() > 1e-4


@pytest.mark.parametrize("backend", ["onnx", pytest.param("executorch", marks=EXECUTORCH)])
def test_text_and_choices_of_a_gated_adapter_follow_its_route(gated: Bundle, backend: str) -> None:
    me = Personalizer.open(gated.path, backend=backend, check_hashes=False)
    spec, gate = gated.manifest.adapter, gate_of(gated)
    prompt = EXAMPLES[2].prompt
    vector = 8 * lanes_of(gated, 1)[0]
    me.use_adapter(Adapter(vector, {}, gate))
    text, choice = me.generate(prompt, max_tokens=6), me.choose(prompt, CHOICES)
    objective = me._objective(me._encoder.encode_all([EXAMPLES[2]]), Budget())
    objective.route_by(gate)
    assert objective.routes is not None
    for slot in gated.manifest.slots:  # what does not serve this prompt may as well be nothing
        if int(slot.name.rpartition(".")[2]) not in objective.routes.index[0]:
            vector[slot.offset : slot.offset + slot.size] = 0
    assert spec.active < spec.blocks
    me.use_adapter(Adapter(vector, {}, gate))
    assert me.generate(prompt, max_tokens=6) == text
    assert me.choose(prompt, CHOICES) == choice
    report = me.fit(EXAMPLES * 2, Budget(steps=3))
    assert sum(report.routes) == spec.active * len(EXAMPLES) * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_with_adapters_of_their_own_keep_their_routes(gated: Bundle, engine: Any) -> None:
    """Each row of a mixed batch says what it says alone, but for what rounding makes of it."""
    runs = engine(gated)
    context, own = context_of(runs), 2 * lanes_of(gated, len(EXAMPLES))
    mixed = runs.choose(replace(context, each=True), own, CANDIDATES)
    for at in range(len(EXAMPLES)):
        row = slice(at, at + 1)
        single = runs.choose(context.some(row), own[row], CANDIDATES)
        # XNNPACK rounds activations to int8: one that falls the other way moves a loss by 0.01.
        atol = 1e-4 if runs.name == "onnx" else 0.02
        np.testing.assert_allclose(mixed[:, row], single, atol=atol)
    assert context.route is not None
    others = replace(context, each=True, route=context.route[np.roll(np.arange(len(own)), 1)])
    assert np.abs(runs.choose(others, own, CANDIDATES) - mixed).max() > 1e-3
