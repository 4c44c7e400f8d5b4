"""Users of one base whose adapters have several blocks: each row goes through its user's gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import UsageError
from dsa_edge.runtime import Budget, Example, Personalizer, SharedBase

CHOICES = (" a", " b")
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
        assert base.choose(rows, CHOICES) == told[0] + told[2]
        assert base.generate(rows, 5) == told[1] + told[3]
        stranger = Personalizer.open(gated)
        with stranger, pytest.raises(UsageError, match="the user is not of this base"):
            base.choose([(ann, "say"), (stranger, "say")], CHOICES)
