"""The notebook in examples/ runs top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest
from snippets import ROOT

NOTEBOOK = ROOT / "examples" / "personalize.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(package, reason="needs nbclient, nbformat and ipykernel")
    import nbclient
    import nbformat

    monkeypatch.delenv("DSA_EDGE_MODEL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    said = [out.get("text", "") for c in notebook.cells for out in c.get("outputs", [])]
    assert any("steps" in text for text in said)
    assert any("kB in the store" in text for text in said)


def test_it_is_kept_without_outputs() -> None:
    text = NOTEBOOK.read_text("utf-8")
    assert '"output_type"' not in text
    assert '"execution_count": null' in text
