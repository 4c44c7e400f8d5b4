"""What the installer for boards refuses before it writes anything. A whole run needs a board."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from machines import ROOT

SCRIPT = ROOT / "scripts" / "jetson_install.sh"


def install(tmp_path: Path, machine: str, python: str = "exit 0", free: int = 10**9) -> str:
    """Run it on a machine of that name; returns what it said."""
    programs = {
        "uname": f"[ $1 = -m ] && echo {machine} || echo Linux",
        "python3": python,
        "df": f"echo header; echo disk 0 0 {free} 0% /",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", SCRIPT, tmp_path / "there"], capture_output=True, text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert not (tmp_path / "there").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("x86_64",), "expected an aarch64 board, found x86_64: elsewhere run `pip install"),
        (("aarch64", "exit 1"), "python3 is older than 3.10 or missing: set PYTHON"),
        (("aarch64", 'case "$2" in *venv*) exit 1 ;; esac'), "python3 has no venv: sudo apt-get"),
        (("aarch64", "exit 0", 1000), "less than 600 MB are free"),
    ],
)
def test_what_cannot_work_is_said_first(tmp_path: Path, given: tuple[str], said: str) -> None:
    assert said in install(tmp_path, *given)
