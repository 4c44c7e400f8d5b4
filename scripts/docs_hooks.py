"""For MkDocs: shows the API reference's parser the package as it is installed.

In a checkout the sub-packages of `dsa_edge` lie beside it. `build/docs/dsa_edge` has links to all
of them in one place, so that docstrings are read from files and nothing has to be imported.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIBLINGS = ("exporters", "kernels", "runtime")


def on_startup(command: str, dirty: bool) -> None:
    """Make the folder of links anew. Called by MkDocs with names of its own, neither needed."""
    package = ROOT / "build" / "docs" / "dsa_edge"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for source in [*(ROOT / "dsa_edge").iterdir(), *(ROOT / name for name in SIBLINGS)]:
        (package / source.name).symlink_to(source)
