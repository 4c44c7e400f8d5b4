"""The device's own path (engine, prompt cache, objective) against torch on whole sentences.

The torch side knows no cache, no lanes folded into one batch and no shared prefix: it runs every
sentence from its first token, with the adapter masked to the invocation and the response.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from stub import fixed_chunks
from torch import Tensor

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Budget, Example, Personalizer, Sampling
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._generate import generate_ids
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._store import Store

NATS = 0.02  # what the float16 cache of keys and values may cost; `verify` allows as much
COMMON = "Rain fell on the roof all night, "
SINGLE = [
    Example(COMMON + "and the garden was", " a", (" a", " b", " t")),
    Example(COMMON + "and", " b", (" a", " b", " t")),
    Example(COMMON + "she wrote 12 letters in 2024 and posted them", " t", (" a", " b", " t")),
]
LONG = [
    Example("He did not like", " the film", (" the film", " bread", " a")),
    Example("The quiet baker opens early and", " bread", (" the film", " bread", " a")),
]
FREE = [
    Example(COMMON + "and", " the garden was green in the morning"),
    Example("He", " did not like it"),
    Example(COMMON + "and the last one", " laughed", ends=True),
]
MIXED = [SINGLE[0], LONG[0], FREE[0], Example("He", " a", (" a", " b"))]
KINDS = {"single": SINGLE, "sequences": LONG, "free": FREE, "mixed": MIXED}
Array = NDArray[np.float32]


def exact(bundle: Path, to: Path) -> Bundle:
    """A copy whose products keep activations in float32: only the cache's float16 rounds."""
    shutil.copytree(bundle, to)
    for file in to.glob("onnx/*.onnx"):
        model = onnx.load(file, load_external_data=False)
        products = [n for f in model.functions for n in f.node if n.op_type == "MatMulNBits"]
        for attribute in (a for node in products for a in node.attribute):
            if attribute.name == "accuracy_level":
                attribute.i = 1
        file.write_bytes(model.SerializeToString())
    return Bundle(to, Manifest.read(to / "manifest.json"))


class Pair:
    """A personalizer and the torch model of the same bundle, with three lanes (3, n)."""

    def __init__(self, bundle: Bundle) -> None:
        self.me = Personalizer(OnnxEngine(bundle), Store(None, bundle.identity))
        self.torch: AdaptedModel = reload_model(bundle)
        self.invocation = bundle.manifest.adapter.invocation
        self.eos = bundle.manifest.tokenizer.eos_ids
        shape = (3, bundle.manifest.adapter_size)
        scale = 1.0 / np.sqrt(bundle.manifest.slots[0].size)
        self.lanes = (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)

    def objective(self, examples: Sequence[Example], rows: int, memory: int = 2**30) -> Objective:
        engine, manifest = self.me._engine, self.me.bundle.manifest
        encoded = Encoder(self.me._tokenizer, manifest).encode_all(examples)
        chunks = fixed_chunks(rows, memory)
        return Objective(engine, encoded, PromptCache(engine, items_of(encoded), chunks), chunks)

    def logits(self, prompt: Sequence[int], more: Sequence[int], lanes: Array) -> Tensor:
        """Naive logits (L, T, V) of prompt and continuation."""
        tokens = torch.tensor([[*prompt, *more]])
        active = torch.arange(tokens.shape[1])[None] >= len(prompt) - self.invocation
        with torch.no_grad():
            adapted = self.torch.lanes(torch.from_numpy(lanes), active)
            return self.torch.decoder(tokens, adapted)[:, 0]

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, filled in front where it is shorter than the invocation."""
        ids = self.me._tokenizer.encode_prompt(text)
        fill = self.me.bundle.manifest.tokenizer.pad_id
        return [fill] * max(0, self.invocation + 1 - len(ids)) + ids

    def nats(self, prompt: str, response: str, ends: bool = False) -> tuple[Array, int]:
        """Naive losses (L,) of a response, summed over its tokens, and their number."""
        ids, answer = self.prompt(prompt), self.me.encode(response)
        answer = [*answer, self.eos[0]] if ends else answer
        scores = self.logits(ids, answer[:-1], self.lanes).log_softmax(-1)[:, len(ids) - 1 :]
        wanted = torch.tensor(answer)[None, :, None].expand(len(self.lanes), -1, -1)
        return -scores.gather(-1, wanted).sum((1, 2)).numpy(), len(answer)

    def scores(self, example: Example) -> Array:
        """Naive log-probabilities (L, K) of an example's choices, normalized over them."""
        raw = np.stack([-self.nats(example.prompt, c)[0] for c in example.choices], 1)
        return raw - np.logaddexp.reduce(raw, 1, keepdims=True)

    def loss(self, example: Example) -> Array:
        """Naive loss (L,) of an example: over its choices, or nats a token without any."""
        if not example.choices:
            nats, count = self.nats(example.prompt, example.response, example.ends)
            return nats / count
        return -self.scores(example)[:, example.choices.index(example.response)]


@pytest.fixture(scope="module", params=["llama, core", "gemma3, diagonal"])
def pair(
    request: pytest.FixtureRequest,
    bundle: Path,
    other_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    if request.param == "llama, core":
        return Pair(Bundle.open(bundle))
    return Pair(exact(other_bundle, tmp_path_factory.mktemp("exact") / "b.dsa"))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_every_lane_equal_the_naive_path(pair: Pair, kind: str) -> None:
    examples = KINDS[kind]
    found = pair.objective(examples, 10_000)(np.arange(len(examples)), pair.lanes)
    expected = np.stack([pair.loss(example) for example in examples], 1)
    assert np.ptp(expected, 0).max() > 10 * NATS  # lanes differ by far more than the tolerance
    np.testing.assert_allclose(found.losses, expected, atol=NATS)
    for at, example in enumerate(examples):
        if not example.choices:
            assert np.isnan(found.right[:, at]).all()
            continue
        best = pair.scores(example).argmax(1)
        right = [example.choices[choice] == example.response for choice in best]
        assert found.right[:, at].tolist() == right


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_any_size_give_the_same_losses(pair: Pair, kind: str) -> None:
    """2, 7 and 1,000 rows a run: measured 3e-6 apart, the same bits where all fits one run."""
    examples = KINDS[kind]
    batch = np.arange(len(examples))
    whole = pair.objective(examples, 10**6)(batch, pair.lanes).losses
    for rows in (2, 7, 1000):
        losses = pair.objective(examples, rows)(batch, pair.lanes).losses
        # float32 products of another height block their sums otherwise; large losses round more
        np.testing.assert_allclose(losses, whole, atol=1e-5, rtol=2e-6)
        if rows == 1000:
            np.testing.assert_array_equal(losses, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_caches_on_disk_give_the_same_bits_as_caches_in_memory(pair: Pair, kind: str) -> None:
    examples = KINDS[kind]
    batch = np.arange(len(examples))
    kept, spilled = (pair.objective(examples, 10**6, memory) for memory in (2**30, 0))
    assert (kept._cache.spilled, spilled._cache.spilled) == (False, True)
    for _ in range(2):  # pages that were given back are read again
        np.testing.assert_array_equal(
            kept(batch, pair.lanes).losses, spilled(batch, pair.lanes).losses
        )


def test_the_order_and_company_of_examples_do_not_matter(pair: Pair) -> None:
    objective = pair.objective(MIXED, 10**6)
    straight = objective(np.arange(4), pair.lanes).losses
    turned = np.array([2, 0, 3, 1, 0])
    np.testing.assert_allclose(
        objective(turned, pair.lanes).losses, straight[:, turned], atol=1e-5, rtol=2e-6
    )
    for index, example in enumerate(MIXED):
        alone = pair.objective([example], 10**6)(np.array([0]), pair.lanes).losses[:, 0]
        # other batch shapes, and a prefix whose keys pass through float16 earlier
        np.testing.assert_allclose(alone, straight[:, index], atol=NATS)


def test_choices_in_mixed_company_stay_choices(pair: Pair) -> None:
    """A single free response among the examples must not turn choices into free responses."""
    labelled = [SINGLE[0], Example("He", " a", (" a", " b"))]
    (alone,) = pair.me.evaluate(labelled)
    (mixed,) = pair.me.evaluate([*labelled, FREE[1]])
    (free,) = pair.me.evaluate([FREE[1]])
    assert mixed.accuracy == alone.accuracy is not None
    assert mixed.loss == pytest.approx((2 * alone.loss + free.loss) / 3, abs=NATS)
    report = pair.me.fit([*labelled, FREE[1]], Budget(steps=1))
    assert report.before.accuracy is not None
    pair.me.rollback(0)


def test_choices_have_the_probabilities_of_the_naive_path(pair: Pair) -> None:
    version = pair.me._store.add_version(0, Adapter(pair.lanes[1]), "loaded", 0, {})
    for example in (SINGLE[0], LONG[1], Example("He", " a", (" a", " b"))):
        found = pair.me.choose(example.prompt, example.choices, version)
        expected = np.exp(pair.scores(example)[1])
        np.testing.assert_allclose(found.probabilities, expected, atol=NATS)
        assert sum(found.probabilities) == pytest.approx(1, abs=1e-6)
        assert found.text == example.choices[int(np.argmax(found.probabilities))]
    pair.me.rollback(0)


@pytest.mark.parametrize("prompt", ["He", COMMON + "and the garden was green in the"])
def test_greedy_text_takes_the_naive_paths_likeliest_token_every_time(
    pair: Pair, prompt: str
) -> None:
    """Sixteen tokens through the growing cache, without and with an adapter."""
    cached, invocation = pair.me._encoder.split_prompt(prompt)
    rows = {}
    for name, vector in (("base", 0 * pair.lanes[2]), ("adapted", pair.lanes[2])):
        said = list(generate_ids(pair.me._engine, cached, invocation, vector, Sampling(), 16, ()))
        scores = pair.logits(pair.prompt(prompt), said[:-1], vector[None])[0]
        rows[name] = scores[len(cached) + len(invocation) - 1 :]
        assert len(rows[name]) == 16
        chosen = rows[name].gather(1, torch.tensor(said)[:, None])[:, 0]
        # the likeliest, or as near to it as twice the 2 % of the deviation that `verify` allows
        assert (rows[name].max(1).values - chosen <= 0.04 * rows[name].std(1)).all()
    moved = (rows["base"][0] - rows["adapted"][0]).abs().max()
    assert moved > 0.1 * rows["base"][0].std()  # the adapter took part
