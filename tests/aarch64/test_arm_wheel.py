"""The wheel for aarch64: cross-built from the sdist, installed by pip, its kernels run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from machines import MISSING, SCRIPTS

from dsa_edge import __version__


def test_the_wheel_is_installed_and_its_kernels_run(fetched: Path, tmp_path: Path) -> None:
    if not find_spec("build"):
        pytest.skip("needs the package build: pip install build")
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, SCRIPTS / "wheel.py", tmp_path, "--here"],
        capture_output=True, text=True, env=bare,
    )  # fmt: skip
    if done.returncode == MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wheel"].startswith(f"dsa_edge-{__version__}-py3-none-manylinux_2_")
    assert told["package"] == "dsa_edge/__init__.py"  # the installed one
    assert (told["machine"], told["version"]) == ("aarch64", __version__)
    assert (told["kernels"], told["largest_error"] < 1e-4) == ("neon", True)
