"""Choices about the base that meet: what is pruned and how what is left is rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dsa_edge.bundle import Bundle
from dsa_edge.errors import UsageError
from dsa_edge.exporters import Pruning, export
from dsa_edge.runtime import Budget, Example, Personalizer

TEXTS = [f"the baker opens early and sells bread number {i} to the whole street" for i in range(12)]
HALF_THE_HEADS = Pruning(0.2, by="magnitude", kv_groups=1)


def test_a_pruned_base_is_calibrated_as_it_is(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "thin.dsa"
    checkpoint = tiny_checkpoint("llama")
    export(checkpoint, path, quantize="gptq", pruning=HALF_THE_HEADS, calibration=TEXTS)
    manifest = Bundle.open(path).manifest
    assert manifest.pruned is not None
    assert manifest.quantized is not None
    assert manifest.quantized.kept == 0  # of a float checkpoint
    assert manifest.quantized.error is not None
    assert manifest.quantized.nearest is not None
    assert manifest.quantized.error < manifest.quantized.nearest
    with Personalizer.open(path) as me:
        assert me.fit([Example("say it", " a", (" a", " b"))], Budget(steps=3)).steps == 3


def test_weak_columns_of_a_pruned_base_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weak_columns is 32 with a pruned base, expected one of"):
        export(
            tmp_path / "nowhere", tmp_path / "thin.dsa", weak_columns=32, calibration=TEXTS,
            pruning=HALF_THE_HEADS,
        )  # fmt: skip
