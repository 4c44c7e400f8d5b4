"""What it costs a step to be durable before the next one begins, and to be sealed as well.

Steps are appended to an unsealed and to a sealed store in turns, each with its fsync, and held
against the time of a step: that of a fit on --bundle, or --step-ms.

    python benchmarks/durability.py --bundle demo/smollm2.dsa --json
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _common import interleaved, parser

from dsa_edge.runtime import Budget, Example, FileKey, Hyperparameters, Personalizer
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._vault import KEY_BYTES, Vault

IDENTITY = "0" * 64
STEP_MS = 500.0  # of a step on a phone, where nothing else is said
FIT_STEPS = 6
CHOICES = (" good", " bad")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=200)
    made.add_argument("--store", default=".", help="a folder on the disk to measure")
    made.add_argument("--step-ms", type=float, help=f"time of a step; without it {STEP_MS:.0f}")
    made.add_argument("--bundle", help="measure the time of a step on this bundle instead")
    arguments = made.parse_args()
    step_ms, source = step_time(arguments.bundle, arguments.step_ms)
    with tempfile.TemporaryDirectory(dir=arguments.store) as folder:
        unsealed = appender(Path(folder) / "unsealed", None)
        sealed = appender(Path(folder) / "sealed", FileKey(Path(folder) / "key"))
        pairs = interleaved(unsealed, sealed, arguments.repeats)
    plain_ms = 1e3 * statistics.median(plain for plain, _ in pairs)
    sealing_ms = 1e3 * statistics.median(sealed - plain for plain, sealed in pairs)
    # A disk's sync takes now 0.3 ms and now 4, which hides what a cipher costs: also without it.
    packs = interleaved(packer(Vault()), packer(Vault(bytes(KEY_BYTES))), arguments.repeats)
    cipher_ms = 1e3 * statistics.median(sealed - plain for plain, sealed in packs)
    result = {
        "step_ms": step_ms,
        "step_from": source,
        "append_ms": plain_ms,
        "sealed_append_ms": 1e3 * statistics.median(sealed for _, sealed in pairs),
        "append_ms_p95": 1e3 * float(np.percentile([plain for plain, _ in pairs], 95)),
        "sealing_ms": sealing_ms,
        "sealing_without_disk_ms": cipher_ms,
        "durability_share": plain_ms / step_ms,
        "sealing_share": max(sealing_ms, cipher_ms) / step_ms,
    }
    print(json.dumps(result) if arguments.json else result)


def appender(folder: Path, key: FileKey | None) -> Callable[[], None]:
    """Appends one step of the default hyper-parameters to the journal of a new store."""
    hyper, random = Hyperparameters(), np.random.default_rng(0)
    store = Store(folder, IDENTITY, key)
    run = store.start_run(0, 0, asdict(hyper))

    def append() -> None:
        slopes = random.standard_normal(hyper.queries).astype(np.float32)
        store.append(run, Step(hyper.rate, slopes))

    return append


def packer(vault: Vault) -> Callable[[], bytes]:
    """Packs one step as the journal does."""
    row = np.random.default_rng(0).standard_normal(1 + Hyperparameters().queries)
    return lambda: vault.pack_floats(row.astype(np.float32), "journal/1/0")


def step_time(bundle: str | None, given: float | None) -> tuple[float, str]:
    """Milliseconds of a step, and where they come from."""
    if bundle is None:
        return (STEP_MS, "assumed") if given is None else (given, "--step-ms")
    examples = [
        Example(f"{number} films were seen, and the last was", CHOICES[number % 2], CHOICES)
        for number in range(40)
    ]
    with Personalizer.open(bundle) as me:  # without a folder: the time of a step, not of the disk
        report = me.fit(examples, Budget(steps=FIT_STEPS))
    return 1e3 * report.step_seconds, "bundle"


if __name__ == "__main__":
    main()
