"""Our side: `Personalizer.fit` on the demo's bundle, in its own process.

Reads a job as JSON on stdin, prints one JSON object. The adapters along the run are rebuilt from
the journal afterwards and evaluated together, so measuring the curve costs the run nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from dsa_edge.demo import review_sentences
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer


def main() -> None:
    job = json.load(sys.stdin)
    data = review_sentences(job["train"], job["test"], job["seed"], job["shots"])
    with (
        tempfile.TemporaryDirectory() as store,
        Personalizer.open(job["bundle"], store, threads=job["threads"]) as me,
    ):
        report = me.fit(
            data.train,
            Budget(steps=job["steps"]),
            hyperparameters=Hyperparameters(**job["hyperparameters"]),
            seed=job["seed"],
        )
        marks = [p for p in report.curve if p.step % job["every"] == 0]
        adapters = me.replay([mark.step for mark in marks])
        results = me.evaluate(data.test, [0, *adapters, me.version])
        print(
            json.dumps(
                {
                    "report": {**report.to_dict(), "curve": []},
                    "accuracy_before": results[0].accuracy,
                    "accuracy_after": results[-1].accuracy,
                    "store_bytes": me.store_bytes,
                    "curve": [
                        {"step": m.step, "seconds": m.seconds, "accuracy": r.accuracy}
                        for m, r in zip(marks, results[1:-1], strict=True)
                    ],
                }
            )
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
