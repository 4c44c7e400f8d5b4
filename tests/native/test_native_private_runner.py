"""Private fits of the native runner on a bundle, and what Python says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from native_runner import Library, Runner, RunnerError
from test_native_runner import learned

from dsa_edge.errors import PrivacyError
from dsa_edge.kernels.library import library_path
from dsa_edge.runtime import Budget, Example, Personalizer, Privacy
from dsa_edge.runtime._accounting import spent

pytest.importorskip("executorch", reason="ExecuTorch is not installed")
pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")
pytestmark = pytest.mark.skipif(
    library_path("dsa_executorch") is None, reason="the ExecuTorch ops are not built: no compiler"
)

Bundles = Callable[[str], Path]
GIVEN = [
    {"prompt": f"Rain fell on {i}", "response": (" a", " l")[i % 2], "choices": [" a", " l"]}
    for i in range(160)
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(map(json.dumps, GIVEN)))
    return file


def test_python_goes_on_with_a_store_of_private_fits(
    library: Library, bundles: Bundles, tmp_path: Path, data: Path
) -> None:
    """It confirms what was spent, replays the adapter, and leaves what the fits left."""
    words = bundles("llama"), "--store", tmp_path / "me"
    more = "--data", data, "--steps", "6", "--batch", "12", "--privacy", "4,1e-4"
    report = library.run("personalize", *words, *more)
    assert report["hyperparameters"]["batch"] == 12
    assert report["privacy"]["epsilon"] <= 4
    assert library.run("history", *words)["fits"][0]["privacy"] == report["privacy"]
    with Personalizer.open(bundles("llama"), store=tmp_path / "me", backend="executorch") as me:
        (run,) = me.fits()
        assert run.privacy is not None
        assert run.privacy.accountant == "rdp"
        assert spent([run.privacy], 1e-4) <= 4
        (adapter,) = me.replay([6])
        again = tmp_path / "again.safetensors"
        library.run("replay", *words, "--out", again)
        me.load_adapter(again)
        assert me.adapter.vector.tobytes() == adapter.vector.tobytes()
        examples = [Example(e["prompt"], e["response"], tuple(e["choices"])) for e in GIVEN]
        with pytest.raises(PrivacyError, match="already spent"):
            me.fit(examples, Budget(steps=2), privacy=Privacy(4, 1e-4))
        theirs = me.fit(examples, Budget(steps=2), privacy=Privacy(9, 1e-4)).privacy
        assert theirs is not None
        assert theirs.accountant == "pld"
    error = library.run("personalize", *words, *more, code=1)["error"]
    assert "already spent" in error


@pytest.mark.parametrize(
    "wrong", ["0", "-1", "nan", "inf", "x", "", "8,0", "8,1", "8,nan", "8,1e-4,3", "8,", "8;1e-4"]
)
def test_what_is_no_guarantee_is_wrong_use(
    library: Library, bundles: Bundles, tmp_path: Path, data: Path, wrong: str
) -> None:
    words = bundles("llama"), "--store", tmp_path / "me"
    ask = "--data", data, f"--privacy={wrong}"
    error = library.run("personalize", *words, *ask, code=2)["error"]
    assert "expected" in error
    assert library.run("history", *words)["fits"] == []


def test_the_batch_of_a_private_fit_is_at_least_one(
    library: Library, bundles: Bundles, data: Path
) -> None:
    ask = "--data", data, "--privacy", "8,1e-4", "--batch", "0"
    assert "batch is 0" in library.run("personalize", bundles("llama"), *ask, code=2)["error"]


def test_a_bundle_of_several_blocks_needs_a_gate_first(
    library: Library, bundles: Bundles, tmp_path: Path, data: Path
) -> None:
    words = bundles("gated"), "--store", tmp_path / "me"
    ask = "--data", data, "--privacy", "8,1e-4", "--steps", "2"
    error = library.run("personalize", *words, *ask, code=1)["error"]
    assert "made of the private prompts themselves" in error
    library.run("load", *words, "--adapter", learned(bundles("gated"), tmp_path / "gated"))
    report = library.run("personalize", *words, *ask)
    assert report["routes"] == report["served_examples"] == []


def test_the_interface_takes_a_guarantee_behind_a_pointer(
    library: Library, bundles: Bundles
) -> None:
    with Runner(library, bundles("llama")) as me:
        report = me.fit(GIVEN, 2, privacy=[8.0, 1e-4, 8])
        assert report["privacy"]["delta"] == 1e-4
        assert report["hyperparameters"]["batch"] == 8
        assert me.fit(GIVEN[:20], 2, privacy=None)["privacy"] is None
        for wrong, kind in (([0, 0, 0], "usage"), ([float("nan"), 0, 0], "usage"),
                            ([8, 0.5, 0], "privacy"), ([8, 0, -1], "usage")):  # fmt: skip
            with pytest.raises(RunnerError) as caught:
                me.fit(GIVEN, 2, privacy=wrong)
            assert caught.value.kind == kind
