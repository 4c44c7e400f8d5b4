import os
from pathlib import Path

import pytest
from android_scripts import run
from filelock import FileLock


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
