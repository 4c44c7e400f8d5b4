"""ExecuTorch export against depth: SmolLM2's layers repeated to 12, 30 and 60, each in a process.

python benchmarks/export.py --json
python benchmarks/export.py --depths 12
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--depths", default="12,30,60", help="layers, by comma")
    made.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.one:
        print(json.dumps(export(arguments.one)))
        return
    runs = [run(depth) for depth in arguments.depths.split(",")]
    result = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "runs": runs}
    print(json.dumps(result) if arguments.json else text(result))


def run(depth: str) -> dict[str, Any]:
    """One export in its own process, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--one", depth]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the export of {depth} layers failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def export(depth: int) -> dict[str, Any]:
    """Build the decoder, its factors and its programs; seconds of each."""
    from dsa_edge.adapter import AdapterSpec
    from dsa_edge.demo import find_model
    from dsa_edge.exporters.checkpoint import open_checkpoint
    from dsa_edge.exporters.decoder import build_decoder
    from dsa_edge.exporters.executorch import write_programs
    from dsa_edge.exporters.parts import AdaptedModel

    started = time.perf_counter()
    source = Repeated(open_checkpoint(find_model()), depth)
    model = AdaptedModel(build_decoder(source, "int4"), AdapterSpec()).eval()
    for layer in range(model.split, depth):
        model.add_blocks(layer)
    prepared = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        info = write_programs(model, Path(folder), lambda _: None)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {
        "layers": depth,
        "decoder_and_subspace_seconds": prepared,
        "programs_seconds": time.perf_counter() - started - prepared,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "programs_mb": size / 1e6,
        "delegated": info.delegated,
    }


class Repeated:
    """A checkpoint whose layers are used again and again up to some depth."""

    def __init__(self, source: Any, depth: int) -> None:
        self._source, self._own = source, source.spec.n_layers
        self.spec = replace(source.spec, n_layers=depth)

    def has(self, name: str) -> bool:
        """As the checkpoint has it."""
        return bool(self._source.has(self._real(name)))

    def weight(self, name: str) -> Any:
        """One tensor of the layer that stands for it."""
        return self._source.weight(self._real(name))

    def _real(self, name: str) -> str:
        head, _, rest = name.partition(".")
        if head != "layers":
            return name
        index, _, part = rest.partition(".")
        return f"layers.{int(index) % self._own}.{part}"


def text(result: dict[str, Any]) -> str:
    lines = [result["machine"]]
    for run_ in result["runs"]:
        lines.append(", ".join(f"{k} {v:.4g}" for k, v in run_.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
