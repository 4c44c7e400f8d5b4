"""The folders are the map: nothing imports what lies further on, and devices need no torch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY = {
    "dsa_edge": set(),
    "kernels": {"kernels"},
    "exporters": {"kernels", "exporters"},
    "runtime": {"kernels", "runtime"},
}
FOLDERS = {"kernels", "exporters", "runtime"}


def imported(file: Path) -> set[str]:
    """Our folders that a file imports, lazily or not."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("dsa_edge.")]
    return {part[1] for part in parts} & FOLDERS


@pytest.mark.parametrize("folder", MAY)
def test_nothing_imports_what_lies_further_on(folder: str) -> None:
    found = (ROOT / folder).rglob("*.py")
    files = [file for file in found if not {"cli", "optimum"} & {*file.parts}]  # these use all
    assert files
    wrong = {
        str(file.relative_to(ROOT)): found
        for file in files
        if (found := imported(file) - MAY[folder]) and file != ROOT / "dsa_edge/__init__.py"
    }
    assert wrong == {}
