"""Builds the compiled kernels beside the Python files, when CMake and a C++ compiler are there.

Everything else about the package is in pyproject.toml. A build that fails is not an error: the
package then runs on standard operators, and `dsa-edge doctor` says what that costs.
"""

import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from dsa_edge.errors import EngineError  # noqa: E402
from dsa_edge.kernels.library import build, executorch_root  # noqa: E402


class BuildKernels(build_ext):
    """One CMake build for all libraries."""

    def run(self) -> None:
        """Build into the package, or go on without."""
        # An isolated build does not see what is installed, but knows where that is.
        installed = executorch_root(Path(sysconfig.get_path("purelib")))
        try:
            build(self._target(), installed)
        except EngineError as error:
            print(f"the kernels were not built: {error}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        """What was built."""
        return [str(path) for path in self._target().glob("lib*")]

    def _target(self) -> Path:
        package = ROOT if self.inplace else Path(self.build_lib) / "dsa_edge"
        return package / "kernels" / "lib"


# The extension only makes setuptools run the command, and mark wheels as belonging to one platform.
setup(
    ext_modules=[Extension("dsa_edge.kernels.lib", [], optional=True)],
    cmdclass={"build_ext": BuildKernels},
)
