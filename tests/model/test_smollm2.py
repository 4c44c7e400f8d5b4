"""The real model: SmolLM2's own bits through export, learning and generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsa_edge.bundle import Bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.errors import DsaEdgeError
from dsa_edge.exporters import export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import QuantizedWeight
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.weights import read_frozen

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def smol(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smol") / "smol.dsa"
    export(smollm2, path)
    return path


def test_the_bundle_keeps_the_bits_and_the_size(smol: Path, smollm2: Path) -> None:
    opened = Bundle.open(smol)
    assert opened.bytes <= 125e6
    assert opened.manifest.base.licence == "apache-2.0"
    weights, source = read_frozen(Bundle.open(smol, check_hashes=False)), open_checkpoint(smollm2)
    for name, stem in (
        ("layers.0.down", "decoder.layers.0.linears.down"),
        ("layers.29.q", "decoder.layers.29.linears.q"),
        ("embedding", "decoder.embedding"),
    ):
        stored = source.weight(name)
        assert isinstance(stored, QuantizedWeight)
        np.testing.assert_array_equal(weights[f"{stem}.codes"], stored.codes)
        np.testing.assert_array_equal(weights[f"{stem}.scales"], stored.scales)
        if stored.minimum is not None:
            np.testing.assert_array_equal(weights[f"{stem}.minimum"], stored.minimum)


def test_it_learns_a_users_labels(smol: Path, tmp_path: Path) -> None:
    """A short run: losses fall, the state stays small, and the text stays sensible."""
    try:
        train, _ = review_sentences(96, 64)
    except DsaEdgeError as error:
        pytest.skip(str(error))
    with Personalizer.open(smol, tmp_path / "me") as me:
        labels, rest = me.pick_shots(LABELS, train, tries=3, judges=24)
        report = me.fit([labels.example(*row) for row in rest], Budget(steps=16))
        assert report.calibrated is not None
        curve = [p.held_out_loss for p in report.curve if p.held_out_loss is not None]
        assert min(curve) < report.calibrated.loss
        # 92 sentences say little about others (their labels are not even balanced): the user's own
        # are answered better than by the base with the same worked examples.
        learned = [labels.example(*row) for row in rest]
        shown, after = me.evaluate(learned, (0, me.version))
        assert after.loss < shown.loss
        assert after.accuracy is not None
        assert after.accuracy > 0.7
        assert me.store_bytes <= 120_000
        assert "Paris" in me.generate("The capital of France is", max_tokens=5, version=0)
