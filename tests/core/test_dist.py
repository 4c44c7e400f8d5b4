"""What is published: an sdist that makes the wheel, a wheel with the right names, one version."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dsa_edge import __version__

ROOT = Path(__file__).parents[2]
COPIES = {  # where tools that read no Python have it
    "android_demo/app/build.gradle.kts": r'versionName = "([^"]+)"',
    "runtime/native/CMakeLists.txt": r"project\(dsa_runner VERSION (\S+)",
}


def test_sdist_and_wheel_hold_what_they_should(tmp_path: Path) -> None:
    if not find_spec("build"):
        pytest.skip("needs the package build: pip install build")
    empty = tmp_path / "no-compiler"  # kernels are built elsewhere, and the wheel does without
    empty.mkdir()
    script = [sys.executable, str(ROOT / "scripts" / "check_dist.py"), str(tmp_path), "--here"]
    environment = {**os.environ, "PATH": str(empty)}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"dsa_edge-{__version__}" in done.stdout


def test_the_version_is_one_and_semantic() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", __version__)
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text("utf-8")
    for name, pattern in COPIES.items():
        assert re.findall(pattern, (ROOT / name).read_text("utf-8")) == [__version__], name


def test_the_changelog_begins_with_this_version() -> None:
    (first, *_) = re.findall(
        r"^## (\S+?),", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert first == __version__
