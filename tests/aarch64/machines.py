"""Where the tools for 64-bit ARM lie, and how a program of it is run here.

Executed as aarch64 under an emulator; not run on a board or phone by us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
FETCHED = ROOT / "build" / "aarch64"
SCRIPTS = ROOT / "scripts" / "aarch64"
TOOLCHAIN = ROOT / "cmake" / "toolchains" / "aarch64-linux-gnu.cmake"
# What they stand for: Jetson Nano and TX2; Orin; the widest instructions that the emulator knows.
PROCESSORS = ("cortex-a57", "cortex-a76", "max")
MISSING = 77  # exit code of a script that says what cannot be had here


@dataclass(frozen=True)
class Machine:
    """A processor and the libraries of a program's system."""

    processor: str
    libraries: tuple[Path, ...] = ()

    def command(self, program: Path, *arguments: object) -> list[str]:
        """The command line that runs a program."""
        emulator = FETCHED / "emulator" / "usr" / "bin" / "qemu-aarch64"
        path = ":".join(map(str, self.libraries))
        return [
            str(emulator), "-cpu", self.processor, "-L", str(FETCHED / "root"),
            "-E", f"LD_LIBRARY_PATH={path}", str(program), *map(str, arguments),
        ]  # fmt: skip


def executorch() -> Path:
    """The folder of ExecuTorch's wheel for aarch64."""
    return FETCHED / "site" / "executorch"


def script(name: str, *words: str) -> None:
    """Run one of our scripts; skips with its reason where something cannot be had here."""
    command = ["sh", SCRIPTS / name, FETCHED, *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]


def cross_built(source: str, name: str, *options: str) -> Path:
    """Build a CMake project of this checkout for aarch64, once a change."""
    if shutil.which("cmake") is None or shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("no CMake or no cross compiler: run `make test-aarch64`")
    folder = FETCHED / name
    with FileLock(FETCHED / "lock"):
        call("cmake", "-S", ROOT / source, "-B", folder, "--toolchain", TOOLCHAIN, *options)
        call("cmake", "--build", folder, "--parallel", "2")
    return folder


def call(*command: object, **environment: str) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout
