"""Build the sdist, from it the wheel, and check both; with --install also what a device gets.

    python scripts/check_dist.py dist                # files, names, version, py.typed
    python scripts/check_dist.py dist --install      # and size and start-up of dsa-edge[onnx]

Exit code 1 and a sentence for each thing that is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

from dsa_edge.kernels.library import executorch_root

ROOT = Path(__file__).parents[1]
REGISTER = "optimum/commands/register/register_dsa_edge.py"
IN_WHEEL = [
    "dsa_edge/py.typed", "dsa_edge/runtime/__init__.py", "dsa_edge/exporters/__init__.py",
    "dsa_edge/kernels/native/CMakeLists.txt", REGISTER,
]  # fmt: skip
IN_SDIST = ["setup.py", "pyproject.toml", "LICENSE", "README.md", "runtime/__init__.py",
            "kernels/native/CMakeLists.txt", "dsa_edge/py.typed"]  # fmt: skip
NOT_ON_DEVICES = ("torch", "transformers", "onnx", "executorch", "optimum")
RUNS = 5  # of each start that is timed


def main() -> int:
    """Build, check, print; returns 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where sdist and wheel go")
    parser.add_argument("--install", action="store_true", help="measure an installation as well")
    parser.add_argument("--here", action="store_true", help="build with what is installed here")
    arguments = parser.parse_args()
    sdist, wheel = build(arguments.folder, arguments.here)
    wrong = [*check_sdist(sdist), *check_wheel(wheel)]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    print(json.dumps({"sdist": sdist.name, "wheel": wheel.name, "wheel_mb": megabytes(wheel)}))
    if arguments.install and not wrong:
        print(json.dumps(installed(wheel)))
    return 1 if wrong else 0


def build(folder: Path, here: bool) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel of that sdist."""
    options = ["--no-isolation", "--skip-dependency-check"] if here else []
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "build", *options, "--outdir", made, str(ROOT)]
        # An isolated build has its own packages; what is installed here has ExecuTorch's headers.
        environment = {**os.environ, "EXECUTORCH_ROOT": str(executorch_root() or "")}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        folder.mkdir(parents=True, exist_ok=True)
        files = [path.replace(folder / path.name) for path in Path(made).iterdir()]
    (sdist,), (wheel,) = ([f for f in files if f.name.endswith(end)] for end in (".gz", ".whl"))
    return sdist, wheel


def check_sdist(sdist: Path) -> list[str]:
    """What is wrong with it."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"{sdist.name} lacks {name}" for name in IN_SDIST if name not in names]


def check_wheel(wheel: Path) -> list[str]:
    """What is wrong with it: missing files, names of its own at the top, another version."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wrong = [f"{wheel.name} lacks {name}" for name in IN_WHEEL if name not in names]
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    others = [name for name in names if name.startswith("optimum/") and name != REGISTER]
    if tops != {"dsa_edge", "optimum"} or others:
        wrong.append(f"{wheel.name} holds {sorted(tops)} {others}, expected dsa_edge, {REGISTER}")
    if version() != wheel.name.split("-")[1]:
        wrong.append(f"{wheel.name} is not of version {version()}")
    return wrong


def version() -> str:
    """The version, from the one place where it stands."""
    text = (ROOT / "dsa_edge" / "__init__.py").read_text("utf-8")
    return text.split('__version__ = "')[1].split('"')[0]


def installed(wheel: Path) -> dict[str, object]:
    """Size in MB and seconds to start of `dsa-edge[onnx]`, in a new environment."""
    with tempfile.TemporaryDirectory() as made:
        venv.create(made, with_pip=True)
        python = Path(made) / "bin" / "python"
        packages = next((Path(made) / "lib").glob("python*")) / "site-packages"
        before = size(packages)
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "-qq",
            f"dsa-edge[onnx] @ {wheel.resolve().as_uri()}",
        ]
        subprocess.run(pip, check=True)
        sizes = {path.name: megabytes(path) for path in packages.iterdir() if path.is_dir()}
        found = [name for name in NOT_ON_DEVICES if name in sizes and name != "optimum"]
        largest = dict(sorted(sizes.items(), key=lambda entry: -entry[1])[:8])
        return {
            "installed_mb": round((size(packages) - before) / 1e6, 1),
            "largest_mb": largest,
            "not_for_devices": found,
            "help_s": seconds([python.with_name("dsa-edge"), "--help"]),
            "import_runtime_s": seconds([python, "-c", "import dsa_edge.runtime"]),
            "import_engine_s": seconds(
                [python, "-c", "import dsa_edge.runtime, onnxruntime, tokenizers"]
            ),
        }


def seconds(command: list[object]) -> float:
    """Median wall-clock time of some runs, after one that does not count."""
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return round(statistics.median(taken[1:]), 3)


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def megabytes(path: Path) -> float:
    """Of a file or a folder."""
    return round((size(path) if path.is_dir() else path.stat().st_size) / 1e6, 1)


if __name__ == "__main__":
    sys.exit(main())
