"""Learning with progress bars, for the verbs that do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._common import comma_list, progress
from dsa_edge.errors import UsageError

if TYPE_CHECKING:
    from dsa_edge.examples import Labels, Row
    from dsa_edge.manifest import Manifest
    from dsa_edge.runtime import (
        Budget,
        Conditions,
        Example,
        Hyperparameters,
        Personalizer,
        Privacy,
        Progress,
        Report,
    )

__all__ = [
    "add_budget",
    "add_trust",
    "budget_of",
    "fit_with_progress",
    "hyperparameters_of",
    "pick_with_progress",
]

OTHERS = (
    "beta1", "beta2", "cooldown", "grid", "keep_every", "keep_from", "keep_until", "mask", "rank",
    "refresh", "share", "slopes", "smoothing", "draws", "gate_rate",
)  # fmt: skip
WHEN = ("charging", "battery", "celsius", "idle")
METHODS = """\
estimators, how gradients come of losses:
  antithetic   pairs along random signs, all in one forward (the default)
  axes         pairs along coordinate axes, a block of --queries of them a step
  exact        the gradient itself, where the bundle was exported with --gradients
  lowrank      pairs along low-rank Gaussian matrices (LOZO)
  mezo         pairs along Gaussian directions, one after the other (MeZO)
  one-sided    signs on one side of the centre, over the spread of losses (FZOO)
  quzo         an int8 adapter, probed and moved by randomly rounded numbers (QuZO)
  sparse       Gaussian pairs on a fixed quarter of the numbers (Sparse-MeZO, SensZOQ)
optimizers, what is made of a gradient:
  adam         over the root mean square of each number (the default)
  momentum     its running mean
  normalized   over the root mean square of the step's scalars (MEAZO)
  sgd          itself"""


def add_budget(made: argparse.ArgumentParser) -> None:
    """The options that bound a fit and say how it steps."""
    made.add_argument("--steps", type=int, metavar="N", help="zeroth-order steps at most")
    made.add_argument("--seconds", type=float, metavar="S", help="time at most, without pauses")
    made.add_argument("--memory-mb", type=float, metavar="M", help="peak memory of the process")
    made.add_argument(
        "--full-attention", action="store_true", help="also for prompts of more than a group"
    )
    made.add_argument("--disk-mb", type=float, metavar="M", help="what it may add on disk")
    made.add_argument("--seed", type=int, default=0, help="of perturbations and order (default: 0)")
    made.add_argument("--rate", type=float, help="learning rate")
    made.add_argument("--epsilon", type=float, help="radius of the perturbation")
    made.add_argument("--queries", type=int, help="directions a step, or axes")
    made.add_argument("--batch", type=int, help="examples a step")
    method = made.add_argument_group("method", METHODS)
    method.add_argument("--estimator", metavar="NAME", help="default: antithetic")
    method.add_argument(
        "--subspace", type=int, default=0, metavar="M",
        help="learn along the first M directions of the bundle's start (estimator axes)",
    )  # fmt: skip
    method.add_argument("--optimizer", metavar="NAME", help="default: adam")
    method.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help=f"also {', '.join(OTHERS)}"
    )
    method.add_argument(
        "--gate", metavar="NAME", help="of several blocks: clusters (default), learned, scratch"
    )
    method.add_argument(
        "--keep", type=float, metavar="SHARE", help="of the numbers, those that matter (AdaLoRA)"
    )


def add_trust(made: argparse.ArgumentParser) -> None:
    """The options that say what is kept, what may show, and when to wait."""
    made.add_argument(
        "--remember", action="store_true", help="keep the examples in the store; else only ids"
    )
    made.add_argument(
        "--replay", type=int, default=0, metavar="N", help="learn from N remembered ones as well"
    )
    made.add_argument(
        "--privacy", metavar="E[,D]", help="differential privacy: epsilon and delta of the store"
    )
    made.add_argument(
        "--when", metavar="C,…", help="pause unless charging, battery=PERCENT, celsius=MOST, idle=S"
    )


def budget_of(arguments: argparse.Namespace) -> Budget:
    """The budget of the command line."""
    from dsa_edge.runtime import Budget

    disk = getattr(arguments, "disk_mb", None)
    return Budget(arguments.seconds, arguments.steps, arguments.memory_mb, disk)


def hyperparameters_of(
    arguments: argparse.Namespace, examples: Sequence[Example], manifest: Manifest
) -> Hyperparameters | None:
    """What the command line gives, over what suits the examples; None where it gives nothing."""
    from dsa_edge.runtime import Hyperparameters
    from dsa_edge.runtime._defaults import settled

    def given(*names: str) -> dict[str, Any]:
        return {n: getattr(arguments, n) for n in names if getattr(arguments, n, None) is not None}

    along = getattr(arguments, "subspace", 0)
    method: dict[str, Any] = {"estimator": "axes", "along": along} if along else {}
    method |= given("estimator", "optimizer")
    numbers = {**given("rate", "epsilon", "queries", "batch", "keep", "gate"), **_others(arguments)}
    if not method and not numbers:
        return None  # a fit then takes the bundle's own
    choices = all(example.choices for example in examples)
    private = getattr(arguments, "privacy", None) is not None
    suited = settled(manifest, choices, None, private)
    if method:
        suited = Hyperparameters.suited(choices, **method)
    wanted = replace(suited, **{n: v for n, v in numbers.items() if n in ("queries", "batch")})
    return replace(wanted.within(arguments.steps or wanted.usual_steps), **numbers)


def _others(arguments: argparse.Namespace) -> dict[str, Any]:
    """What --set names, each as its own type."""
    from dsa_edge.runtime import Hyperparameters

    found: dict[str, Any] = {}
    for text in getattr(arguments, "set", None) or ():
        name, _, value = text.partition("=")
        kind = type(getattr(Hyperparameters, name)) if name in OTHERS else None
        try:
            found[name] = kind(value) if kind else None
        except ValueError:
            found[name] = None
        if found[name] is None:
            raise UsageError(
                f"--set has {text!r}, expected NAME=VALUE with a number (mask: hex digits) and one "
                f"of {', '.join(OTHERS)}."
            )
    return found


def privacy_of(arguments: argparse.Namespace) -> Privacy | None:
    """The guarantee that --privacy asks for; --batch is then how many examples a step has."""
    from dsa_edge.runtime import Privacy

    text = getattr(arguments, "privacy", None)
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        given: dict[str, Any] = dict(
            zip(("epsilon", "delta")[: len(numbers)], numbers, strict=True)
        )
    except ValueError as error:
        raise UsageError(f"--privacy is {text!r}, expected as 8 or 8,1e-5.") from error
    if arguments.batch is not None:
        given["batch"] = arguments.batch
    return Privacy(**given)


def conditions_of(arguments: argparse.Namespace) -> Conditions | None:
    """The conditions of --when."""
    from dsa_edge.runtime import Conditions

    text = getattr(arguments, "when", None)
    if text is None:
        return None
    given: dict[str, Any] = {}
    for part in comma_list(text):
        name, _, value = part.partition("=")
        try:
            given[name] = float(value) if value else True
        except ValueError:
            given[name] = None
        if (name == "charging") != (given[name] is True) or name not in WHEN or given[name] is None:
            raise UsageError(
                f"--when has {part!r}, expected charging, battery=50, celsius=45 or idle=0.3."
            )
    return Conditions(**given)


def fit_with_progress(
    me: Personalizer, examples: Sequence[Example], arguments: argparse.Namespace
) -> Report:
    """Fit as the command line says."""
    with (
        progress(len(examples), "prompts", "prompt") as prompts,
        progress(None, "steps", "step") as bar,
    ):

        def on_step(event: Progress) -> None:
            bar.set_postfix(loss=f"{event.loss:.3f}", refresh=False)
            bar.update()

        return me.fit(
            examples,
            budget_of(arguments),
            on_step,
            hyperparameters_of(arguments, examples, me.bundle.manifest),
            arguments.seed,
            prompts.update,
            remember=getattr(arguments, "remember", False),
            replay=getattr(arguments, "replay", 0),
            privacy=privacy_of(arguments),
            conditions=conditions_of(arguments),
            on_pause=_tell_pause,
        )


def _tell_pause(reasons: tuple[str, ...]) -> None:
    print(f"paused: {', '.join(reasons)}" if reasons else "goes on", file=sys.stderr)


def pick_with_progress(
    me: Personalizer, labels: Labels, rows: Sequence[Row], shots: int = 4, seed: int = 0
) -> tuple[Labels, list[Row]]:
    """`Personalizer.pick_shots`."""
    with progress(None, "worked examples", "prompt") as bar:

        def on_judged(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return me.pick_shots(labels, rows, shots, seed=seed, on_judged=on_judged)
