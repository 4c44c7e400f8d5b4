"""Does learning a second task undo the first, and does replay of remembered examples prevent it?

Task A is the demo's: sentences of reviews. Task B comes later: beginnings of long reviews by other
people, in another prompt. B is learned from A's version twice, without and with remembered examples
of A, and each version is measured on held-out examples of both.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from _common import parser

from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, long_reviews, review_sentences
from dsa_edge.examples import Example, Labels
from dsa_edge.runtime import Budget, Personalizer, Report

OTHER = Labels("{text}\nDid they like it? My answer:", LABELS.names)
WORDS = 40  # of a long review


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=512, help="examples of each task")
    made.add_argument("--test", type=int, default=500, help="held-out examples of each task")
    made.add_argument("--steps", type=int, help="of each fit (default: what one takes)")
    made.add_argument("--replay", type=int, default=128, help="remembered examples to mix in")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    with tempfile.TemporaryDirectory() as store, Personalizer.open(bundle, store) as me:
        result = run(me, arguments)
    print(json.dumps(result) if arguments.json else text(result))


def run(me: Personalizer, arguments: Any) -> dict[str, Any]:
    """Learn A, then B from there, twice."""
    count, test = arguments.train, arguments.test
    train, held = review_sentences(count, test)
    later = long_reviews(count + test, WORDS)
    tests = {
        "A": [LABELS.example(*row) for row in held],
        "B": [OTHER.example(*row) for row in later[count:]],
    }
    learn_b = [OTHER.example(*row) for row in later[:count]]
    fit(me, [LABELS.example(*row) for row in train], arguments.steps, 0)
    first = me.version
    plain = fit(me, learn_b, arguments.steps, 0)
    me.rollback(first)
    mixed = fit(me, learn_b, arguments.steps, arguments.replay)
    versions = {"start": 0, "after A": first, "A then B": plain, "A then B with A's": mixed}
    return {
        "replay": arguments.replay,
        "accuracy": {name: measured(me, tests, version) for name, version in versions.items()},
    }


def fit(me: Personalizer, examples: list[Example], steps: int | None, replay: int) -> int:
    """Learn and remember; returns the version then in use."""
    report: Report = me.fit(examples, Budget(steps=steps), remember=True, replay=replay)
    return report.version


def measured(me: Personalizer, tests: dict[str, list[Example]], version: int) -> dict[str, Any]:
    """Accuracy of a version on each task."""
    return {task: me.evaluate(rows, [version])[0].accuracy for task, rows in tests.items()}


def text(result: dict[str, Any]) -> str:
    rows = [f"{name:<18} {a['A']:.3f}  {a['B']:.3f}" for name, a in result["accuracy"].items()]
    return "\n".join(["accuracy on            A      B", *rows])


if __name__ == "__main__":
    main()
