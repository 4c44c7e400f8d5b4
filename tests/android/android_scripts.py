"""Runs the scripts of android_demo/."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "android_demo"
TOOLS = Path(sys.executable).parent  # cmake comes from PyPI
MISSING = 77  # exit code of a script that lacks a tool; its last line says which


def run(script: str, *arguments: str | Path) -> str:
    """Output of a script of android_demo; skips the test where a tool is missing."""
    done = subprocess.run(
        [str(ROOT / "scripts" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"},
    )
    if done.returncode == MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
