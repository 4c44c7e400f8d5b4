"""What every benchmark's command line has."""

from __future__ import annotations

import argparse

__all__ = ["parser"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the demo's folder and --json."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--folder", default="demo", help="where the demo's bundle is or goes")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made
