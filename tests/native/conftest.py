"""What is native, built once, by whichever of the test processes comes first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from native_learn import Native, build
from native_runner import ROOT, Library
from native_runner import build as build_runner

from dsa_edge.adapter import AdapterSpec

DIAGONAL = AdapterSpec("diagonal", rank=8, targets=("q", "o", "down"), split=0.3, invocation=3)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "learn.lock"):
        return Native(build(folder / "learn"))


@pytest.fixture(scope="session")
def library() -> Library:
    """The runner, built into build/native: what `make native` made is not made again.

    DSA_NATIVE_BUILD names another folder, as `make native-sanitized` does.
    """
    folder = ROOT / os.environ.get("DSA_NATIVE_BUILD", "build/native")
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        return Library(build_runner(folder))


@pytest.fixture(scope="session")
def bundles(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`bundles(name)`: a tiny bundle with ExecuTorch programs. Read only.

    Layouts are those of other tests, whose programs are kept and need not be lowered again.
    """
    made: dict[str, Path] = {}
    kinds = {
        "llama": ("llama", {}),
        "gemma": ("gemma3", {"quantize": "int8", "adapter": DIAGONAL}),
        "gated": ("llama", {"adapter": AdapterSpec("core", rank=8, blocks=3)}),
        "lora": ("llama", {"adapter": AdapterSpec("lora", 4)}),
    }

    def bundle(name: str) -> Path:
        from dsa_edge.exporters import export

        if name not in made:
            family, options = kinds[name]
            made[name] = tmp_path_factory.mktemp("native") / f"{name}.dsa"
            export(tiny_checkpoint(family), made[name], ("executorch",), check=False, **options)
        return made[name]

    return bundle
