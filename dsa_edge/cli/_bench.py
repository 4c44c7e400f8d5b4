"""`dsa-edge bench`: how fast a bundle runs here, on a board or on a phone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dsa_edge.cli._common import emit, parser

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge bench smol.dsa
  dsa-edge bench smol.dsa --target ssh:me@jetson --cool 45 -o json > jetson.json
  dsa-edge bench smol.dsa --target adb:0123456789 --runner build/android
  dsa-edge bench smol.dsa --backend executorch --threads 4 --repeats 20"""
FORMATS = ("md", "json")


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    from dsa_edge.runtime.bench import Session, Settings, bench, markdown, target_of

    made = parser(
        "bench", "Measure a bundle: prompts, generation, steps, memory. No user's data.", EXAMPLES
    )
    made.add_argument("bundle", help="bundle folder, as `dsa-edge export` wrote it")
    made.add_argument(
        "--target", default="local", help="local, ssh:user@host, adb or adb:SERIAL (default: local)"
    )
    made.add_argument("-o", dest="form", choices=FORMATS, default="md", help="md or json")
    Settings.add_to(made)
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
    arguments = made.parse_args(argv)
    arguments.json |= arguments.form == "json"
    session = Session(
        arguments.runner, arguments.python, arguments.cool, arguments.cool_seconds,
        arguments.timeout,
    )  # fmt: skip
    target, settings = target_of(arguments.target), Settings.of(arguments)
    report = bench(arguments.bundle, target, settings, session, _say)
    emit(arguments, report, markdown(report))
    return 0


def _say(what: str) -> None:
    if sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr)
