import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from android_scripts import ROOT, run
from filelock import FileLock
from java_drive import EXAMPLES, Drive

sys.path.insert(0, str(ROOT.parent / "tests" / "native"))


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where core/ is built, and what its tests said."""
    out = common(tmp_path_factory) / "core"
    return out, once(out, "test_core.sh")


@pytest.fixture(scope="session")
def apk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The signed demo app."""
    out = common(tmp_path_factory) / "apk"
    return Path(once(out, "build_apk.sh").splitlines()[-1])


def common(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run of pytest share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(out: Path, script: str) -> str:
    """What a script says of a folder; whichever worker comes first runs it."""
    said = out.with_suffix(".said")
    with FileLock(out.with_suffix(".lock")):
        if not said.exists():
            said.write_text(run(script, out))
        return said.read_text()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libdsaedge.so over the real runner is; that one is built once for all tests."""
    from native_runner import build

    native = ROOT.parent / "build" / "native"
    native.parent.mkdir(exist_ok=True)
    with FileLock(native.with_suffix(".lock")):
        build(native)
    out = tmp_path_factory.mktemp("jni")
    run("build_linux.sh", native / "libdsa_runner.so", out)
    return out


@pytest.fixture(scope="session")
def java(
    core: tuple[Path, str],
    built: Path,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Drive:
    from dsa_edge.exporters import export

    bundle = common(tmp_path_factory) / "java.dsa"
    with FileLock(bundle.with_suffix(".lock")):
        if not bundle.exists():
            export(tiny_checkpoint("llama"), bundle, ("onnx", "executorch"), check=False)
    return Drive(bundle, built, core[0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"prompt": e.prompt, "response": e.response, "choices": e.choices})
        for e in EXAMPLES
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path
