from pathlib import Path

import pytest
from android_scripts import run


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where core/ is built, and what its tests said."""
    out = tmp_path_factory.mktemp("core")
    return out, run("test_core.sh", out)


@pytest.fixture(scope="session")
def apk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The signed demo app."""
    out = tmp_path_factory.mktemp("apk")
    return Path(run("build_apk.sh", out).splitlines()[-1])
