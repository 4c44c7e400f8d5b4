"""A headless browser, where one is installed: what a page looks like in it.

browser = find()                        # None where there is none
measured(browser, page, 360, tmp_path)["needs"]   # pixels across, where there are 360
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["find", "measured", "screenshot"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")
# The page in a frame of a phone's width: browsers themselves have a least width.
FRAME = """<!doctype html><iframe id="f" style="width:{width}px;height:800px;border:0"
srcdoc="{page}"></iframe><script>
document.getElementById("f").onload = event => {{
  const page = event.target.contentDocument, body = page.documentElement
  const small = [...page.querySelectorAll("svg text")].map(
    text => text.getBoundingClientRect().height)
  const boxes = [...page.querySelectorAll("svg")].map(svg => {{
    const frame = svg.getBoundingClientRect()
    return [...svg.querySelectorAll("text")].every(text => {{
      const box = text.getBoundingClientRect()
      return box.left > frame.left - 1 && box.right < frame.right + 1
    }})
  }})
  document.title = JSON.stringify({{
    needs: body.scrollWidth, text: Math.min(...small), inside: boxes.every(Boolean),
    plots: boxes.length, ink: getComputedStyle(page.body).color,
    dark: matchMedia("(prefers-color-scheme:dark)").matches,
    requests: event.target.contentWindow.performance.getEntriesByType("resource").length,
  }})
}}</script>"""


def find() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def measured(browser: str, page: Path, width: int, folder: Path, *flags: str) -> dict[str, Any]:
    """What a page comes to in a frame of so many pixels, as `FRAME` says."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page.read_text("utf-8"))))
    dom = _run(browser, folder, *flags, "--virtual-time-budget=2000", "--dump-dom", frame.as_uri())
    found = re.search("<title>(.*?)</title>", dom)
    assert found, dom[:500]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


def screenshot(browser: str, page: Path, width: int, height: int, folder: Path) -> bytes:
    """The page as PNG."""
    shot = folder / "shot.png"
    size = f"--window-size={width},{height}"
    _run(browser, folder, size, f"--screenshot={shot}", page.as_uri())
    return shot.read_bytes()


def _run(browser: str, folder: Path, *arguments: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [browser, *flags, "--hide-scrollbars", profile, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout
