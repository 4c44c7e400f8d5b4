"""ExecuTorch against ONNX Runtime on one bundle, method by method, in turns.

Needs a bundle with both backends; the demo's has only one, so this exports its own beside it.

    python benchmarks/engines.py --json
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from _common import interleaved, parser

from dsa_edge.bundle import Bundle
from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._backend import open_engine
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._engine import Engine
from dsa_edge.runtime._objective import items_of
from dsa_edge.runtime._plan import plan_chunks
from dsa_edge.runtime._prompts import no_prefix

LANES, BATCH = 32, 16


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--bundle", help="a bundle with both backends (default: export one)")
    made.add_argument("--repeats", type=int, default=7)
    arguments = made.parse_args()
    path = arguments.bundle or demo_bundle(
        Path(arguments.folder) / "both", backend="onnx,executorch"
    )
    bundle = Bundle.open(path, check_hashes=False)
    engines = [open_engine(bundle, name) for name in ("onnx", "executorch")]
    works = [methods(engine, bundle) for engine in engines]
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "kernels": engines[0].kernels,
        "methods": {},
    }
    for name in works[0]:
        pairs = interleaved(works[0][name], works[1][name], arguments.repeats)
        result["methods"][name] = {
            "onnx_ms": 1e3 * statistics.median(a for a, _ in pairs),
            "executorch_ms": 1e3 * statistics.median(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs),
        }
    print(json.dumps(result) if arguments.json else text(result))


def methods(engine: Engine, bundle: Bundle) -> dict[str, Any]:
    """One call of each method at its usual size."""
    rows, _ = review_sentences(64, 1)
    me = Personalizer(engine, _no_store(bundle))
    encoded = Encoder(me._tokenizer, bundle.manifest).encode_all(
        [LABELS.example(*row) for row in rows[:BATCH]]
    )
    cache = PromptCache(engine, items_of(encoded), plan_chunks(bundle.manifest, Budget(), False))
    context = cache.context(np.arange(BATCH))
    random = np.random.default_rng(0)
    signs = random.choice([-0.1, 0.1], (LANES, bundle.manifest.adapter_size)).astype(np.float32)
    candidates = np.array([me._tokenizer.encode(f" {name}")[0] for name in LABELS.names])
    no, adapter = no_prefix(bundle.manifest), signs[:1] * 0
    tokens = random.integers(0, 1000, (BATCH, 32))
    whole = np.full(BATCH, 32)
    filled = engine.prefill(no, tokens[:1], tokens[:1, :1], whole[:1])
    return {
        "probe_step": lambda: engine.choose(context, signs, candidates),
        "prefill_16x32": lambda: engine.prefill(no, tokens, tokens[:, :1], whole),
        "decode_token": lambda: engine.decode(
            tokens[:1, :1], no, filled.keys, filled.values, whole[:1], adapter
        ),
    }


def _no_store(bundle: Bundle) -> Any:
    from dsa_edge.runtime._store import Store

    return Store(None, bundle.identity)


def text(result: dict[str, Any]) -> str:
    lines = [f"{result['machine']}, kernels {result['kernels']}; ratio = ExecuTorch / ONNX Runtime"]
    for method, values in result["methods"].items():
        lines.append(f"{method:<14}" + ", ".join(f"{k} {v:.2f}" for k, v in values.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
