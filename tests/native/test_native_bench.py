"""`dsa_runner bench`: what `dsa-edge bench --runner` reads, from the real runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from native_runner import Library

from dsa_edge.bundle import Bundle
from dsa_edge.runtime.bench import Session, Settings, bench, schema, target_of

QUICK = Settings(prompt_tokens=16, new_tokens=5, lanes=4, batch=2, warmup=1, repeats=2, threads=1)
Bundles = Callable[[str], Path]


@pytest.mark.parametrize("name", ["llama", "gated"])
@pytest.mark.parametrize("which", ["time", "memory"])
def test_it_prints_what_the_schema_says(
    library: Library, bundles: Bundles, name: str, which: str
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    made = library.run("bench", bundles(name), *QUICK.arguments(), "--pass", which)
    told = schema()
    jsonschema.validate(made, {**told["$defs"]["answer"], "$defs": told["$defs"]})
    manifest = Bundle.open(bundles(name), check_hashes=False).manifest
    assert made["settings"] == asdict(QUICK)
    assert made["bundle"]["identity"] == manifest.identity
    assert made["bundle"]["adapter_size"] == manifest.adapter_size
    assert made["tokens"] == {"prompt": 16, "generate": 4}
    if which == "time":
        assert {len(seconds) for seconds in made["seconds"].values()} == {2}


def test_a_bench_runs_it_and_sums_up(library: Library, bundles: Bundles) -> None:
    session = Session(library.folder)
    (report,) = bench(bundles("llama"), target_of("local"), [QUICK], session)
    assert report["engine"]["backend"] == "executorch"
    assert set(report["results"]) == {"load", "prompt", "generate", "probe", "switch"}
    assert all(row["mean"] > 0 for row in report["results"].values())
    assert report["peak_mb"] > 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--prompt-tokens", "100000"], "prompt_tokens is 100000, this base has room for"),
        (["--lanes", "3"], "lanes is 3, expected an even number"),
        (["--repeats", "1"], "repeats is 1, expected at least 2"),
        (["--backend", "onnx"], "dsa_runner runs ExecuTorch alone"),
        (["--pass", "twice"], "expected time or memory"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    library: Library, bundles: Bundles, given: list[str], message: str
) -> None:
    error = library.run("bench", bundles("llama"), *given, code=2)["error"]
    assert message in error
    assert error.count("\n") == 0
