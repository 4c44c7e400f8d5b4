"""Builds the compiled kernels beside the Python files, when CMake and a C++ compiler are there.

Everything else about the package is in pyproject.toml. A build that fails is not an error: the
package then runs on standard operators, and `dsa-edge doctor` says what that costs.

For another machine: CMAKE_TOOLCHAIN_FILE and EXECUTORCH_ROOT, of that machine's package or empty,
in the environment, and its platform as bdist_wheel's --plat-name (`scripts/aarch64/wheel.py`).
"""

import os
import re
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
# Where a wheel finds ExecuTorch's libraries: beside itself, not where they were at the build.
BESIDE = (
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN/../../../executorch/lib",
)
sys.path.insert(0, str(ROOT))

from dsa_edge.errors import EngineError  # noqa: E402
from dsa_edge.kernels.library import build, executorch_root  # noqa: E402


class BuildKernels(build_ext):
    """One CMake build for all libraries."""

    def run(self) -> None:
        """Build into the package, or go on without."""
        # An isolated build does not see what is installed, but knows where that is.
        given = os.environ.get("EXECUTORCH_ROOT")
        packages = Path(sysconfig.get_path("purelib"))
        installed = executorch_root(packages) if given is None else Path(given) if given else None
        try:
            build(self._target(), installed, () if self.inplace else BESIDE)
        except EngineError as error:
            print(f"the kernels were not built: {error}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        """What was built."""
        return [str(path) for path in self._target().glob("lib*")]

    def _target(self) -> Path:
        package = ROOT if self.inplace else Path(self.build_lib) / "dsa_edge"
        return package / "kernels" / "lib"


class KernelWheel(bdist_wheel):
    """A wheel of one kind of machine and of every Python: the kernels ask nothing of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """`manylinux_2_N` where the kernels say which GNU C library they need."""
        platform = super().get_tag()[2]
        folder = Path(self.get_finalized_command("build").build_lib) / "dsa_edge/kernels/lib"
        needed = [found for path in folder.glob("lib*.so") for found in glibc(path.read_bytes())]
        if needed:
            platform = platform.replace("linux_", f"manylinux_2_{max(17, *needed)}_", 1)
        return "py3", "none", platform


def glibc(library: bytes) -> list[int]:
    """The N of each GLIBC_2.N that an ELF file names; none of other systems."""
    return [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", library)]


# The extension only makes setuptools run the command, and mark wheels as belonging to one platform.
setup(
    ext_modules=[Extension("dsa_edge.kernels.lib", [], optional=True)],
    cmdclass={"bdist_wheel": KernelWheel, "build_ext": BuildKernels},
)
