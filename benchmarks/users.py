"""Many users over one base: memory against their number, time to switch, and mixed batches.

    python benchmarks/users.py --json [--users 1,100,1000]

Users are stores with synthetic adapters of the model's size. Memory is what a process that has
loaded the base and answered grows by when every user's adapter is read, and when every user has
answered as well, engine included; each number of users has a process of its own. A switch is the
time until an adapter is there whose store is not open; the same user's again is `warm`. Mixed
batches run in turns with batches of one user, which share one adapter: the whole answer, its run of
the adapted layers alone, and a token of decoding.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import interleaved, parser, seconds

from dsa_edge.adapter import Adapter
from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.runtime import Budget, Example, SharedBase
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._memory import release_freed, resident_mb
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._plan import plan_chunks
from dsa_edge.runtime._prompts import no_prefix

ROWS, CHOICES = 16, LABELS.choices
CHILD = "--memory-of"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--users", default="1,100,1000", help="numbers of users, the largest last")
    made.add_argument("--repeats", type=int, default=15)
    made.add_argument(CHILD, type=int, help="measure this many users of --stores, in a process")
    made.add_argument("--stores", help="folder of the users' stores")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    if arguments.memory_of is not None:
        print(json.dumps(memory(bundle, Path(arguments.stores), arguments.memory_of)))
        return
    counts = [int(count) for count in arguments.users.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        write_stores(bundle, Path(folder), max(counts))
        result: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
        result["memory"] = [in_a_process(arguments.folder, folder, count) for count in counts]
        with SharedBase.open(bundle) as base:
            result["adapter_bytes"] = 4 * base.bundle.manifest.adapter_size
            result["switch"] = switches(base, Path(folder), max(counts))
            result["mixed"] = mixed(base, Path(folder), arguments.repeats)
    result["load_after"] = os.getloadavg()[0]
    print(json.dumps(result) if arguments.json else result)


def write_stores(bundle: Path, folder: Path, count: int) -> None:
    """Stores 0 … count − 1, each with an adapter of its own that changes answers a little."""
    with SharedBase.open(bundle) as base:
        size, random = base.bundle.manifest.adapter_size, np.random.default_rng(0)
        for number in range(count):
            user = base.user(folder / str(number))
            user.use_adapter(Adapter((random.standard_normal(size) * 0.02).astype(np.float32)))
            user.close()


def in_a_process(demo: str, stores: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--folder", demo, CHILD, str(count), "--stores", stores]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(told)
    return found


def memory(bundle: Path, stores: Path, count: int) -> dict[str, float]:
    """Resident MB with nobody, and with so many users who have all been asked something."""
    with SharedBase.open(bundle) as base:
        for _ in range(8):  # the engine's own memory settles
            ask(base, [base.user(None)] * ROWS)
        release_freed()
        before = resident_mb()
        users = [base.user(stores / str(number)) for number in range(count)]
        read = [len(user.adapter.vector) for user in users]
        release_freed()
        loaded = resident_mb()
        for start in range(0, count, ROWS):
            ask(base, users[start : start + ROWS])
        release_freed()
        after = resident_mb()
        files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        return {
            "users": len(read), "base_mb": before, "users_mb": loaded - before,
            "kb_a_user": 1024 * (loaded - before) / count,
            "answered_mb": after - before, "open_files": files,
        }  # fmt: skip


def ask(base: SharedBase, users: list[Any]) -> None:
    base.choose(list(zip(users, prompts(), strict=False)), CHOICES)


def prompts() -> list[str]:
    """As many as a batch has rows."""
    rows, _ = review_sentences(64, 1)
    return [LABELS.prompt(text) for text, _ in rows[:ROWS]]


def switches(base: SharedBase, stores: Path, count: int) -> dict[str, Any]:
    """ms until another user's adapter is there: from its closed store, and again.

    cold_cpu_ms: of the processor, which other programs on a busy machine do not lengthen.
    """
    users = [base.user(stores / str(number)) for number in range(count)]
    order = np.random.default_rng(1).permutation(count)
    cold, warm, busy = [], [], []
    for number in order:
        user, began = users[number], time.thread_time()
        cold.append(1e3 * seconds(lambda user=user: user.adapter))
        busy.append(1e3 * (time.thread_time() - began))
        warm.append(1e3 * seconds(lambda user=user: user.adapter))
    for user in users:
        user.close()
    return {"cold_ms": spread(cold), "cold_cpu_ms": spread(busy), "warm_ms": spread(warm)}


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "p99": float(np.percentile(values, 99)),
        "worst": max(values),
    }


def mixed(base: SharedBase, stores: Path, repeats: int) -> dict[str, Any]:
    """16 users against one user with the same 16 prompts, in turns."""
    users = [base.user(stores / str(number)) for number in range(ROWS)]
    rows = list(zip(users, prompts(), strict=True))
    encoder, engine, one = users[0]._encoder, users[0]._engine, users[0].adapter
    encoded = encoder.encode_all([Example(prompt, CHOICES[0], CHOICES) for _, prompt in rows])
    chunks = plan_chunks(base.bundle.manifest, Budget(), False)

    def single() -> None:
        cache = PromptCache(engine, items_of(encoded), chunks)
        objective = Objective(engine, encoded, cache, chunks)
        objective.choice_scores(np.arange(ROWS), one.vector[None])

    cache = PromptCache(engine, items_of(encoded), chunks)
    context, candidates = cache.context(np.arange(ROWS)), np.array(sorted(encoded[0].tokens or ()))
    each, own = replace(context, each=True), np.stack([user.adapter.vector for user in users])
    prefix, tokens = no_prefix(base.bundle.manifest), np.full((ROWS, 1), 100)
    d = base.bundle.manifest.decoder
    keys = np.zeros((d["n_layers"], ROWS, d["n_kv_heads"], 64, d["head_dim"]), np.float16)
    past = prefix, keys, keys, np.full(ROWS, 48)
    shared = one.vector[None]
    return {
        "rows": ROWS,
        "answer": against(lambda: base.choose(rows, CHOICES), single, repeats),
        "adapted_layers": against(
            lambda: engine.choose(each, own, candidates),
            lambda: engine.choose(context, shared, candidates),
            repeats,
        ),
        "decode_token": against(
            lambda: engine.decode(tokens, *past, own),
            lambda: engine.decode(tokens, *past, shared),
            repeats,
        ),
    }


def against(many: Callable[[], Any], one: Callable[[], Any], repeats: int) -> dict[str, float]:
    pairs = interleaved(many, one, repeats)
    return {
        "users_ms": 1e3 * statistics.median(first for first, _ in pairs),
        "one_user_ms": 1e3 * statistics.median(second for _, second in pairs),
        "ratio": statistics.median(first / second for first, second in pairs),
    }


if __name__ == "__main__":
    main()
