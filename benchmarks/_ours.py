"""Our side: `Personalizer.fit` on the demo's bundle, in its own process.

Reads a job as JSON on stdin, prints one JSON object. The adapters along the run are rebuilt from
the journal afterwards and evaluated together, so measuring the curve costs the run nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer


def main() -> None:
    job = json.load(sys.stdin)
    train, test = review_sentences(job["train"], job["test"], job["seed"])
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(job["bundle"], store, threads=job["threads"]) as me,
    ):
        began = time.perf_counter()
        labels, rest = me.pick_shots(LABELS, train, seed=job["seed"])
        picked = time.perf_counter() - began
        report = me.fit(
            [labels.example(*row) for row in rest],
            Budget(steps=job["steps"]),
            hyperparameters=Hyperparameters(**job["hyperparameters"]),
            seed=job["seed"],
        )
        marks = [p for p in report.curve if p.step % job["every"] == 0]
        adapters = me.replay([mark.step for mark in marks])
        results = me.evaluate([labels.example(*r) for r in test], [0, *adapters, me.version])
        print(
            json.dumps(
                {
                    "report": {**report.to_dict(), "curve": []},
                    "accuracy_before": results[0].accuracy,
                    "accuracy_after": results[-1].accuracy,
                    "store_bytes": me.store_bytes,
                    "pick_seconds": picked,
                    "template": labels.template,
                    "curve": [
                        {"step": m.step, "seconds": picked + m.seconds, "accuracy": r.accuracy}
                        for m, r in zip(marks, results[1:-1], strict=True)
                    ],
                }
            )
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
