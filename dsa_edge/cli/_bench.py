"""`dsa-edge bench`: how fast a bundle runs here, on a board or on a phone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._common import emit, parser
from dsa_edge.errors import DsaEdgeError

if TYPE_CHECKING:
    from dsa_edge.runtime.bench import Session

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge bench smol.dsa
  dsa-edge bench smol.dsa --prompt-tokens 64,256 --lanes 8,16 -o csv
  dsa-edge bench smol.dsa --target ssh:me@jetson --cool 45 -o json > jetson.json
  dsa-edge bench smol.dsa --target adb:0123456789 --runner build/android
  dsa-edge bench smol.dsa --backend executorch --threads 4 --repeats 20
  dsa-edge bench compare before.json after.json"""
COMPARED = """\
  dsa-edge bench compare before.json after.json
  dsa-edge bench compare here.json jetson.json -o csv"""
FORMATS = ("md", "json", "csv")


def main(argv: Sequence[str]) -> int:
    """Run the verb, or `compare` of two of its files; a bundle of that name is `./compare`."""
    if argv and argv[0] == "compare":
        return _compare(argv[1:])
    from dsa_edge.runtime.bench import Settings, bench, target_of

    arguments = _parser().parse_args(argv)
    session, target = _session(arguments), target_of(arguments.target)
    reports: list[dict[str, Any]] = []
    try:
        for report in bench(arguments.bundle, target, Settings.grid(arguments), session, _say):
            reports.append(report)
    except DsaEdgeError as error:
        if not reports:
            raise
        _show(arguments, reports, str(error))  # what was measured is not lost
        print(f"dsa-edge bench: {error}", file=sys.stderr)
        return 1
    _show(arguments, reports)
    return 0


def _parser() -> argparse.ArgumentParser:
    from dsa_edge.runtime.bench import Settings

    made = parser(
        "bench",
        "Measure a bundle: prompts, generation, steps, memory. No user's data. Settings may be "
        "lists; every combination is a row.",
        EXAMPLES,
    )
    made.add_argument("bundle", help="bundle folder, as `dsa-edge export` wrote it; or compare")
    made.add_argument(
        "--target", default="local", help="local, ssh:user@host, adb or adb:SERIAL (default: local)"
    )
    _add_form(made)
    Settings.add_to(made, lists=True)
    made.add_argument(
        "--runner", type=Path, metavar="DIR", help="measure with dsa_runner of this folder"
    )
    made.add_argument(
        "--python", help="what starts Python there (default: of jetson_install.sh, else python3)"
    )
    made.add_argument("--cool", type=float, metavar="C", help="wait until no zone is hotter, in °C")
    made.add_argument(
        "--cool-seconds", type=float, default=300, metavar="S", help="wait so long (default: 300)"
    )
    made.add_argument(
        "--timeout", type=float, default=1800, metavar="S", help="of each pass (default: 1800)"
    )
    return made


def _session(arguments: argparse.Namespace) -> Session:
    from dsa_edge.runtime.bench import Session

    return Session(
        arguments.runner, arguments.python, arguments.cool, arguments.cool_seconds,
        arguments.timeout,
    )  # fmt: skip


def _show(
    arguments: argparse.Namespace, reports: list[dict[str, Any]], failed: str | None = None
) -> None:
    from dsa_edge.runtime.bench import csv_text, markdown, to_json

    arguments.json |= arguments.form == "json"
    text = csv_text(reports) if arguments.form == "csv" else markdown(reports)
    emit(arguments, to_json(reports, failed), text)


def _compare(argv: Sequence[str]) -> int:
    """Hold the second result file against the first."""
    from dsa_edge.runtime.bench import compare, compare_csv, compare_markdown, read_results

    made = parser(
        "bench compare", "Compare two files of `bench -o json`: ratios, and what counts.", COMPARED
    )
    made.add_argument("first", help="what the ratios are held against")
    made.add_argument("second", help="the other one")
    _add_form(made)
    arguments = made.parse_args(argv)
    found = compare(read_results(arguments.first), read_results(arguments.second))
    arguments.json |= arguments.form == "json"
    emit(arguments, found, (compare_csv if arguments.form == "csv" else compare_markdown)(found))
    return 0


def _add_form(made: argparse.ArgumentParser) -> None:
    made.add_argument("-o", dest="form", choices=FORMATS, default="md", help="md, json or csv")


def _say(what: str) -> None:
    if sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr)
