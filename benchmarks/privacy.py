"""What differential privacy costs in accuracy and time, and what it keeps from showing.

Learns the demo's sentences, canaries among them, without privacy and at several ε, each run in a
fresh store. A canary is a sentence of random words with a random label, there `--repeat` times; its
exposure is that of Carlini et al. 2019 (1802.08232): log2 of how many strangers like it the model
finds less likely. About 1.4 bits are chance; a canary that was learned by heart has 8.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from _common import parser, seconds
from tqdm import tqdm

from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Personalizer, Privacy
from dsa_edge.runtime._privacy import Mechanism

STRANGERS = 255  # what a canary is ranked among; with itself 256, 8 bits
WORDS = 8  # random words of a canary


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=512, help="sentences to learn from")
    made.add_argument("--test", type=int, default=1000, help="held-out sentences")
    made.add_argument("--steps", type=int, help="of each fit (default: what one takes)")
    made.add_argument("--epsilons", default="8,4,2,1", help="by comma")
    made.add_argument("--delta", type=float, default=1e-4)
    made.add_argument("--canaries", type=int, default=16)
    made.add_argument("--repeat", type=int, default=4, help="times that each canary is there")
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--threads", type=int, help="of the engine (default: all cores)")
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    epsilons = [None, *map(float, arguments.epsilons.split(","))]
    wanted = [(seed, epsilon) for seed in range(arguments.seeds) for epsilon in epsilons]
    rows = [
        run(str(bundle), arguments, seed, epsilon)
        for seed, epsilon in tqdm(wanted, desc="fits", disable=arguments.json)
    ]
    result = {
        "runs": rows,
        "summary": [summary(rows, epsilon) for epsilon in epsilons],
        "mechanism_seconds": mechanism_seconds(arguments.train),
    }
    print(json.dumps(result) if arguments.json else text(result))


def run(bundle: str, arguments: Any, seed: int, epsilon: float | None) -> dict[str, Any]:
    """One fit, and what can be seen of it."""
    train, test = review_sentences(arguments.train, arguments.test, seed)
    canaries = strangers(arguments.canaries, seed)
    examples = [LABELS.example(*row) for row in train] + canaries * arguments.repeat
    privacy = None if epsilon is None else Privacy(epsilon, arguments.delta)
    with Personalizer.open(bundle, threads=arguments.threads, check_hashes=False) as me:
        report = me.fit(examples, Budget(steps=arguments.steps), seed=seed, privacy=privacy)
        last = me.adapter if me.version else me.replay([report.steps])[0]
        held_out = [LABELS.example(*row) for row in test]
        before, kept = me.evaluate(held_out, [0, me.version])
        exposures = exposure(me, last, canaries, strangers(STRANGERS, seed + 10_000))
    return {
        "seed": seed,
        "epsilon": epsilon,
        "spent": report.privacy and report.privacy.epsilon,
        "noise": report.privacy and report.privacy.noise,
        "verdict": report.verdict,
        "accuracy_before": before.accuracy,
        "accuracy": kept.accuracy,
        "exposure_bits": exposures,
        "step_seconds": report.step_seconds,
        "batch": report.hyperparameters["batch"],
        "fit_seconds": report.fit_seconds,
    }


def mechanism_seconds(examples: int) -> float:
    """Seconds a step that sampling, clipping and noise take: all that privacy adds to one."""
    mechanism = Mechanism(0.7, 32)
    slopes = np.random.default_rng(0).standard_normal((32, 16))

    def once() -> None:
        mechanism.sample(examples)
        mechanism.centre(slopes[:, :2])
        mechanism.slopes(slopes, centred=True)

    return float(np.median([seconds(once) for _ in range(200)]))


def strangers(count: int, seed: int) -> list[Example]:
    """Sentences of random words with random labels."""
    rng = random.Random(seed)
    vocabulary = sorted(
        {w for t, _ in review_sentences(2000, 1)[0] for w in t.split() if w.isalpha()}
    )
    return [
        LABELS.example(" ".join(rng.sample(vocabulary, WORDS)), rng.randrange(2))
        for _ in range(count)
    ]


def exposure(
    me: Personalizer, adapter: Any, canaries: list[Example], others: list[Example]
) -> float:
    """Mean bits over the canaries: ranks by how much learning lowered the loss of the label."""
    gains = [
        np.array([gain(me, adapter, example) for example in rows]) for rows in (canaries, others)
    ]
    ranks = [1 + int((gains[1] > own).sum()) for own in gains[0]]
    return float(np.mean(np.log2(len(others) + 1) - np.log2(ranks)))


def gain(me: Personalizer, adapter: Any, example: Example) -> float:
    """Nats by which learning lowered an example's loss."""
    start, end = me.evaluate([example], [0, adapter])
    return start.loss - end.loss


def summary(rows: list[dict[str, Any]], epsilon: float | None) -> dict[str, Any]:
    """Medians over the seeds, and the distance to learning without privacy."""
    chosen = [row for row in rows if row["epsilon"] == epsilon]
    names = ("accuracy_before", "accuracy", "exposure_bits", "step_seconds")
    medians = {name: float(np.median([row[name] for row in chosen])) for name in names}
    openly = [row["accuracy"] for row in rows if row["epsilon"] is None]
    return {
        "epsilon": epsilon,
        **medians,
        "points_lost": 100 * (np.median(openly) - medians["accuracy"]),
    }


def text(result: dict[str, Any]) -> str:
    lines = ["epsilon  accuracy        points lost  exposure   s a step"]
    for row in result["summary"]:
        epsilon = "none" if row["epsilon"] is None else f"{row['epsilon']:g}"
        accuracy = f"{row['accuracy_before']:.3f} → {row['accuracy']:.3f}"
        lines.append(
            f"{epsilon:>7}  {accuracy}  {row['points_lost']:>10.1f}  "
            f"{row['exposure_bits']:>4.1f} bits  {row['step_seconds']:>7.2f}"
        )
    lines.append(f"privacy itself takes {1e3 * result['mechanism_seconds']:.2f} ms of a step")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
