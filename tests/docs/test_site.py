"""The site: built strictly, every page can be found, and nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from snippets import PAGES, ROOT

from dsa_edge import runtime

CONFIG = (ROOT / "mkdocs.yml").read_text("utf-8")
LISTED = re.findall(r"^ +- ([\w/.-]+\.md)$", CONFIG, re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site; a broken link or anchor fails here."""
    if not (find_spec("material") and find_spec("mkdocstrings")):
        pytest.skip("needs MkDocs Material and mkdocstrings: pip install 'dsa-edge[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_fetches_nothing_from_others(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text("utf-8")):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), (page.name, tag)


def test_the_reference_has_all_that_the_runtime_offers(site: Path) -> None:
    shown = "".join(file.read_text("utf-8") for file in (site / "api").glob("*.html"))
    assert 'id="dsa_edge.runtime.Personalizer.fit"' in shown
    names = set(re.findall(r'id="dsa_edge\.[\w.]*?(\w+)"', shown))
    assert names >= set(runtime.__all__)


def test_every_page_is_in_the_navigation() -> None:
    pages = {page.name.removeprefix("docs/") for page in PAGES if page.name != "README.md"}
    assert set(LISTED) == pages
    assert len(LISTED) == len(pages)


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text("utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target
