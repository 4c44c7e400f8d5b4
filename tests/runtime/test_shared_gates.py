"""Users of one base whose adapters have several blocks: each row goes through its user's gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sharing import assert_same

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.errors import UsageError
from dsa_edge.gate import Gate
from dsa_edge.runtime import Budget, Example, Personalizer, SharedBase
from dsa_edge.runtime._onnx_engine import OnnxEngine

CHOICES = (" a", " b")
SEVERAL = (" a warm garden", " bread", " the film was slow")
PROMPTS = ["He did not like the film;", "Rain fell on the roof all night", "The baker", "say green"]
WORDS = ["bread", "rain", "film", "roof", "letter", "green"]
EXAMPLES = [
    [Example(f"say {w} {t}", CHOICES[(i + t) % 2], CHOICES) for i, w in enumerate(WORDS)]
    for t in range(2)
]


@pytest.fixture(scope="module")
def gated(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("gated") / "three.dsa"
    export(tiny_checkpoint("llama"), path, adapter=AdapterSpec(rank=4, blocks=3), check=False)
    return path


def test_rows_of_gated_users_answer_as_each_user_alone(gated: Path, tmp_path: Path) -> None:
    stores, told = [tmp_path / name for name in ("ann", "bob")], []
    for store, examples in zip(stores, EXAMPLES, strict=True):
        with Personalizer.open(gated, store) as me:
            assert me.fit(examples, Budget(steps=12)).verdict == "improved"
            told.append([me.choose(e.prompt, CHOICES) for e in examples[:3]])
            told.append([me.generate(e.prompt, 5) for e in examples[:3]])
    with SharedBase.open(gated) as base:
        ann, bob = (base.user(store) for store in stores)
        rows = [(user, e.prompt) for user in (ann, bob) for e in EXAMPLES[user is bob][:3]]
        for found, expected in zip(base.choose(rows, CHOICES), told[0] + told[2], strict=True):
            assert_same(found, expected)
        assert base.generate(rows, 5) == told[1] + told[3]
        stranger = Personalizer.open(gated)
        with stranger, pytest.raises(UsageError, match="the user is not of this base"):
            base.choose([(ann, "say"), (stranger, "say")], CHOICES)


def own_adapter(bundle: Path, seed: int) -> Adapter:
    """Blocks that say different things, and a gate that is nobody else's."""
    manifest = Personalizer.open(bundle, check_hashes=False).bundle.manifest
    random = np.random.default_rng(seed)
    vector = (random.standard_normal(manifest.adapter_size) * 0.5).astype(np.float32)
    weight = random.standard_normal(manifest.gate_shape or ()).astype(np.float32)
    return Adapter(vector, {}, Gate(weight, np.zeros(len(weight), np.float32)))


@pytest.mark.parametrize("memory", ["at once", "one by one"])
def test_one_batch_carries_every_rows_route(
    gated: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three users with gates of their own and a newcomer without one, in few runs of the engine."""
    adapters = [own_adapter(gated, seed) for seed in (1, 2, 3)]
    with SharedBase.open(gated) as base:
        users = [base.user(None) for _ in range(4)]
        for user, adapter in zip(users, adapters, strict=False):
            user.use_adapter(adapter)
        rows = [(user, prompt) for prompt in PROMPTS for user in users]
        alone = [user.choose(prompt, SEVERAL) for user, prompt in rows]
        texts = [user.generate(prompt, 6) for user, prompt in rows]
        assert len(set(texts)) > len(PROMPTS)
        if memory == "one by one":  # prompts that memory has no room for together
            monkeypatch.setattr("dsa_edge.runtime._plan.Chunks.prefill_tokens", lambda *_: 32)
        runs, probe = list[int](), OnnxEngine.probe

        def counted(engine: OnnxEngine, *given: Any) -> Any:
            runs.append(1)
            return probe(engine, *given)

        monkeypatch.setattr(OnnxEngine, "probe", counted)
        for found, expected in zip(base.choose(rows, SEVERAL), alone, strict=True):
            assert_same(found, expected)
        assert len(runs) == 1
        assert base.generate(rows, 6) == texts
