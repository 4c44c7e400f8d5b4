"""Builds the compiled kernels beside the Python files, when CMake and a C++ compiler are there.

Everything else about the package is in pyproject.toml. A build that fails is not an error: the
package then runs on standard operators, and `dsa-edge doctor` says what that costs.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
SOURCES = ROOT / "kernels" / "native"


class BuildKernels(build_ext):
    """One CMake build for all libraries."""

    def run(self) -> None:
        """Build into the package, or go on without."""
        target = (
            ROOT / "kernels" / "lib"
            if self.inplace
            else Path(self.build_lib) / "dsa_edge/kernels/lib"
        )
        try:
            compile_kernels(target)
        except (OSError, subprocess.CalledProcessError) as error:
            print(
                f"the kernels were not built ({error}): `dsa-edge doctor` has the remedy",
                file=sys.stderr,
            )

    def get_outputs(self) -> list[str]:
        """What was built."""
        return [str(path) for path in (Path(self.build_lib) / "dsa_edge/kernels/lib").glob("lib*")]


def compile_kernels(target: Path) -> None:
    """Build into `target`; an ExecuTorch that is installed already gets its library too."""
    executorch = Path(sysconfig.get_path("purelib")) / "executorch"
    root = executorch if (executorch / "include").is_dir() else ""
    with tempfile.TemporaryDirectory() as made:
        command = ["cmake", "-S", str(SOURCES), "-B", made, f"-DEXECUTORCH_ROOT={root}"]
        subprocess.run(command, check=True)
        subprocess.run(["cmake", "--build", made, "--parallel", "2"], check=True)
        target.mkdir(parents=True, exist_ok=True)
        for library in Path(made).glob("libdsa_*"):
            if library.suffix in (".so", ".dylib"):
                shutil.copy2(library, target / library.name)


# The extension only makes setuptools run the command, and mark wheels as belonging to one platform.
setup(
    ext_modules=[Extension("dsa_edge.kernels.lib", [], optional=True)],
    cmdclass={"build_ext": BuildKernels},
)
