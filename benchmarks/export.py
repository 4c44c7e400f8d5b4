"""ExecuTorch export against depth: SmolLM2's layers repeated to 12, 30 and 60, each in a process.

Each depth lowers its own programs; then the last one is exported again with another adapter (rank 8
on q, v and down), with the programs that were kept.

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
    made.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.one:
        depth, rank, kept = arguments.one
        print(json.dumps(export(int(depth), int(rank), Path(kept))))
        return
    depths = arguments.depths.split(",")
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(depth, "16", f"{folder}/{depth}") for depth in depths]
        again = run(depths[-1], "8", f"{folder}/{depths[-1]}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    result = {"machine": machine, "runs": runs, "another_adapter": again}
    print(json.dumps(result) if arguments.json else text(result))


def run(depth: str, rank: str, kept: str) -> dict[str, Any]:
    """One export in its own process, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--one", depth, rank, kept]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the export of {depth} layers failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def export(depth: int, rank: int, kept: Path) -> dict[str, Any]:
    """Build the decoder, its factors and its programs; seconds of each."""
    from dsa_edge.adapter import AdapterSpec
    from dsa_edge.demo import find_model
    from dsa_edge.exporters.checkpoint import open_checkpoint
    from dsa_edge.exporters.decoder import build_decoder
    from dsa_edge.exporters.executorch import write_programs
    from dsa_edge.exporters.model import AdaptedModel

    started = time.perf_counter()
    adapter = AdapterSpec() if rank == 16 else AdapterSpec(rank=rank, targets=("q", "v", "down"))
    source = Repeated(open_checkpoint(find_model()), depth)
    model = AdaptedModel(build_decoder(source, "int4"), adapter).eval()
    for layer in range(model.split, depth):
        model.add_blocks(layer)
    prepared = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        info = write_programs(model, Path(folder), lambda _: None, kept)
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
    for run_ in (*result["runs"], result["another_adapter"]):
        lines.append(", ".join(f"{k} {v:.4g}" for k, v in run_.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
