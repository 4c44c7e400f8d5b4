"""The wheel for 64-bit ARM Linux: cross-built here, installed, and run under an emulator.

    sh scripts/aarch64/fetch.sh build/aarch64 && python scripts/aarch64/wheel.py dist

Prints one JSON object. Exit code 1 and a sentence where something is wrong, 77 and the reason
where this machine lacks what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FETCHED = ROOT / "build" / "aarch64"
TOOLCHAIN = ROOT / "cmake" / "toolchains" / "aarch64-linux-gnu.cmake"
KERNELS = ("dsa_executorch", "dsa_kernels", "dsa_onnxruntime")
MISSING = 77
AARCH64 = b"\xb7\x00"  # an ELF file's machine, at byte 18
# What a board does first: imports, and lanes through one of the kernels.
TRIAL = """
import json, platform
import numpy as np
import dsa_edge
import dsa_edge.runtime
from dsa_edge.kernels import lane_linear, library, native_ops

x = np.random.default_rng(0).standard_normal((12, 32), dtype=np.float32)
weight = np.random.default_rng(1).standard_normal((3, 8, 32), dtype=np.float32)
wrong = np.abs(native_ops.lane_linear(x, weight) - lane_linear.lane_linear(x, weight)).max()
library.library("dsa_onnxruntime")  # of our ABI
print(json.dumps({
    "machine": platform.machine(), "version": dsa_edge.__version__, "package": dsa_edge.__file__,
    "kernels": library.instruction_set(), "largest_error": float(wrong),
}))
"""


def main() -> int:
    """Build, check, install, run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the wheel goes")
    parser.add_argument("--here", action="store_true", help="build with what is installed here")
    arguments = parser.parse_args()
    if lacking := missing():
        print(f"skipped: {lacking}", file=sys.stderr)
        return MISSING
    wheel = build(arguments.folder, arguments.here)
    wrong = check(wheel)
    told = {} if wrong else tried(wheel)
    if told and (told["machine"], told["kernels"]) != ("aarch64", "neon"):
        wrong.append(f"it ran as {told['machine']} with kernels {told['kernels']}")
    if told and not told["largest_error"] < 1e-4:
        wrong.append(f"lane_linear is off by {told['largest_error']}, expected rounding alone")
    for sentence in wrong:
        print(f"{wheel.name}: {sentence}", file=sys.stderr)
    print(json.dumps({"wheel": wheel.name, **told}))
    return 1 if wrong else 0


def missing() -> str | None:
    """What this machine lacks, or None."""
    if not (FETCHED / "site" / ".done").is_file():
        return "no emulator and no libraries for 64-bit ARM: run scripts/aarch64/fetch.sh"
    tools = [name for name in ("aarch64-linux-gnu-g++", "cmake") if shutil.which(name) is None]
    return f"not installed: {', '.join(tools)}" if tools else None


def build(folder: Path, here: bool) -> Path:
    """The wheel, of the sdist of this checkout."""
    options = ["--no-isolation", "--skip-dependency-check"] if here else []
    environment = {
        **os.environ, "CMAKE_TOOLCHAIN_FILE": str(TOOLCHAIN),
        "EXECUTORCH_ROOT": str(FETCHED / "site" / "executorch"),
    }  # fmt: skip
    build = [sys.executable, "-m", "build", *options]
    wheel = "--wheel", "--config-setting=--build-option=--plat-name=linux_aarch64"
    with tempfile.TemporaryDirectory() as made:
        subprocess.run(
            [*build, "--sdist", "--outdir", made, str(ROOT)], check=True, stdout=subprocess.DEVNULL
        )
        (sdist,) = Path(made).glob("*.tar.gz")
        shutil.unpack_archive(sdist, made, filter="data")
        source = Path(made) / sdist.name.removesuffix(".tar.gz")
        subprocess.run(
            [*build, *wheel, "--outdir", made, str(source)],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (file,) = Path(made).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(file, folder / file.name))


def check(wheel: Path) -> list[str]:
    """What is wrong with it: the platform, and the kernels in it."""
    wrong = []
    if not wheel.name.endswith("_aarch64.whl") or "-manylinux_" not in wheel.name:
        wrong.append("its name promises no manylinux of aarch64")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for kernel in KERNELS:
            name = f"dsa_edge/kernels/lib/lib{kernel}.so"
            if name not in names:
                wrong.append(f"it lacks {name}")
            elif (content := archive.read(name))[18:20] != AARCH64 or str(ROOT).encode() in content:
                wrong.append(f"{name} is of another machine, or names a folder of this one")
    return wrong


def tried(wheel: Path) -> dict[str, Any]:
    """What it says of itself, installed beside what it needs, under an emulator."""
    emulator = FETCHED / "emulator" / "usr" / "bin" / "qemu-aarch64"
    root = FETCHED / "root"
    platform = wheel.stem.rsplit("-", 1)[1]
    with tempfile.TemporaryDirectory() as target:
        # pip itself says whether the tags fit.
        command = [
            sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-index",
            "--only-binary=:all:", "--python-version=3.11", f"--platform={platform}",
            f"--target={target}", wheel,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        paths = os.pathsep.join([target, str(FETCHED / "site")])
        done = subprocess.run(
            [emulator, "-L", root, root / "usr" / "bin" / "python3.11", "-c", TRIAL],
            env={**os.environ, "PYTHONPATH": paths}, cwd=target,  # not the checkout's own package
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = json.loads(done.stdout)
        told["package"] = str(Path(told["package"]).relative_to(Path(target).resolve()))
        return dict(told)


if __name__ == "__main__":
    sys.exit(main())
