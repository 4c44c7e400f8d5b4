"""`dsa-edge tune`: settings and a learning curve, measured on a developer's own examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._common import add_examples, emit, load_examples, parser, progress, table
from dsa_edge.errors import UsageError

if TYPE_CHECKING:
    from dsa_edge.examples import Example
    from dsa_edge.runtime._again import Again
    from dsa_edge.runtime._curve import Point
    from dsa_edge.runtime._tune import Trial, Tuned

__all__ = ["main"]

DESCRIPTION = """Search for the rate, radius, queries and batch that learn best from such examples.

Each trial is a fit in memory from the initial adapter, of equal forward tokens, judged on a quarter
of the examples; most are given up after a fifth of it. Settings that also win with other seeds are
written into the bundle, and fits on it then take them unless told otherwise: adapters and stores
stay valid. Kind, rank, targets and layers are settled by the export: to choose among them, tune
several bundles on the same data and compare the losses.

With --curve it measures instead what 32, 64, 128 … examples bring, and when more stop helping."""
EXAMPLES = """\
  dsa-edge tune smol.dsa --data reviews.jsonl --template '{text} It was' \\
      --labels terrible,great --trials 30 --study tune.db      # goes on where it was stopped
  dsa-edge tune smol.dsa --data notes.jsonl --seconds 3600 --dry-run --json
  dsa-edge tune smol.dsa --data notes.jsonl --curve --plot curve.html"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = _parser().parse_args(argv)
    if arguments.plot and not arguments.curve:
        raise UsageError("--plot draws a learning curve: give --curve as well.")
    from dsa_edge.runtime._again import Again

    with closing(Again.in_memory(arguments.bundle, arguments.backend, arguments.threads)) as me:
        examples = load_examples(arguments, me)
        return (_curve if arguments.curve else _search)(arguments, me, examples)


def _parser() -> argparse.ArgumentParser:
    made = parser("tune", DESCRIPTION, EXAMPLES)
    made.add_argument("bundle", help="bundle folder, as `dsa-edge export` wrote it")
    add_examples(made)
    made.add_argument("--trials", type=int, default=30, metavar="N", help="default: 30")
    made.add_argument(
        "--seconds", type=float, metavar="S", help="of the search, without 4 fits more"
    )
    made.add_argument("--steps", type=int, metavar="N", help="of a fit as it is now (default: 100)")
    made.add_argument("--seed", type=int, default=0, help="of splits, trials and fits (default: 0)")
    made.add_argument(
        "--study", metavar="FILE", help="SQLite file to keep trials in and go on from"
    )
    made.add_argument("--curve", action="store_true", help="measure a learning curve over data")
    made.add_argument("--seeds", type=int, default=3, metavar="N", help="of a curve (default: 3)")
    made.add_argument("--plot", metavar="FILE", help="draw the curve, as HTML")
    made.add_argument("--dry-run", action="store_true", help="leave the bundle as it is")
    made.add_argument("--backend", default="auto", help="auto, onnx or executorch (default: auto)")
    made.add_argument("--threads", type=int, metavar="N", help="of the engine (default: all cores)")
    return made


def _search(arguments: argparse.Namespace, me: Again, examples: Sequence[Example]) -> int:
    from dsa_edge.runtime._tune import tune

    with progress(arguments.trials, "trials", "trial") as bar:

        def on_trial(trial: Trial) -> None:
            bar.set_postfix(loss=f"{trial.loss:.4f}", percent=trial.percent, refresh=False)
            bar.update(trial.number + 1 - bar.n)

        tuned = tune(
            me, examples, arguments.trials, arguments.steps, arguments.seconds, arguments.seed,
            arguments.study, on_trial,
        )  # fmt: skip
    written = tuned.better and not arguments.dry_run
    if written:
        _write(me, examples, **asdict(tuned.defaults))
    emit(arguments, {**asdict(tuned), "written": written}, table(_rows(tuned, written)))
    return 0


def _rows(tuned: Tuned, written: bool) -> list[tuple[str, object]]:
    whole = [trial for trial in tuned.trials if trial.percent == 100]
    best = min(whole, key=lambda trial: trial.loss)
    found = best.settings
    outcome = "does not win with other seeds: nothing is changed"
    if tuned.better:
        outcome = "written into the bundle" if written else "not written (--dry-run)"
    return [
        ("trials", f"{len(tuned.trials)}, {len(whole)} of them to the end"),
        ("initial adapter", f"{tuned.base.loss:.4f} nats on {tuned.base.examples} examples"),
        ("settings as they are", f"{tuned.present:.4f} nats, mean of 2 further seeds"),
        ("best settings", f"{tuned.found:.4f} nats with the same seeds; {outcome}"),
        ("  rate, epsilon", f"{found.rate:.3g}, {found.epsilon:.3g}"),
        ("  queries, batch", f"{found.queries}, {found.batch}, for {found.steps} steps"),
    ]


def _curve(arguments: argparse.Namespace, me: Again, examples: Sequence[Example]) -> int:
    from dsa_edge.runtime import DataGate
    from dsa_edge.runtime._again import parted
    from dsa_edge.runtime._curve import learning_curve, sizes_up_to

    sizes = sizes_up_to(len(parted(examples, arguments.seed).learned))
    with progress(len(sizes) * arguments.seeds, "fits", "fit") as bar:
        points = learning_curve(
            me, examples, sizes, arguments.seeds, arguments.steps, arguments.seed,
            lambda _: bar.update(),
        )  # fmt: skip
    curve = [(point.examples, point.result.loss) for point in points]
    gate, most = DataGate(curve), max(sizes)
    if arguments.plot:
        from dsa_edge.cli._html import write_curve

        write_curve(arguments.plot, curve, [gate.loss(n) for n, _ in curve], gate.advice(most))
    if not arguments.dry_run:
        _write(me, examples, curve=tuple(curve))
    rows = [(f"{n} examples", _of_size(points, n, gate.loss(n))) for n in sizes]
    data = {
        "points": [asdict(point) for point in points],
        "verdict": gate.verdict(most),
        "gain": asdict(gate.gain(most, most)),
        "written": not arguments.dry_run,
    }
    emit(arguments, data, table([*rows, ("verdict", gate.advice(most))]))
    return 0


def _of_size(points: Sequence[Point], size: int, law: float) -> str:
    results = [point.result for point in points if point.examples == size]
    losses = [result.loss for result in results]
    spread = f" ± {stdev(losses):.4f}" if len(losses) > 1 else ""
    text = f"{mean(losses):.4f}{spread} nats (law {law:.4f})"
    right = [result.accuracy for result in results if result.accuracy is not None]
    return f"{text}, accuracy {mean(right):.3f}" if right else text


def _write(me: Again, examples: Sequence[Example], **found: Any) -> None:
    """Put what was found beside what the bundle has for this sort of examples."""
    from dsa_edge.runtime._defaults import proposed, save_defaults

    choices = all(example.choices for example in examples)
    had = proposed(me.bundle.manifest, choices)
    save_defaults(me.bundle, choices, replace(had, **found))
