"""`dsa-edge demo`: a real model learns a real user's labels, from end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_edge.bundle import Bundle
from dsa_edge.cli._common import emit, parser, progress, table
from dsa_edge.cli._fit import fit_with_progress, pick_with_progress
from dsa_edge.cli._html import BeforeAfter, plots_of, write_report
from dsa_edge.cli._plot import write_plots
from dsa_edge.demo import LABELS, find_model, review_sentences
from dsa_edge.errors import BundleError, ExportError

if TYPE_CHECKING:
    from dsa_edge.runtime import Evaluation, Example, Personalizer, Report

__all__ = ["demo_bundle", "main"]

EXAMPLES = """\
  dsa-edge demo
  dsa-edge demo --steps 50 --test 500 --json
  dsa-edge demo --folder demo/ --fresh"""
DESCRIPTION = """Export SmolLM2-135M-Instruct, personalize it on review sentences, report.

SmolLM2 (4 bit) ──export──▶ bundle ──512 sentences, forward passes──▶ adapter ──▶ report"""
SHOWN = 6  # examples in the report
BARE = 500  # held-out sentences on which the base alone is measured: enough for ± 0.02


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("demo", DESCRIPTION, EXAMPLES)
    made.add_argument("--folder", default="demo", help="where bundle, store and report go")
    made.add_argument("--steps", type=int, metavar="N", help="zeroth-order steps at most")
    made.add_argument("--seconds", type=float, metavar="S", help="time for learning at most")
    made.add_argument("--memory-mb", type=float, metavar="M", help="peak memory while learning")
    made.add_argument("--train", type=int, default=512, help="sentences to learn from (512)")
    made.add_argument("--test", type=int, default=2000, help="held-out sentences (2000)")
    made.add_argument("--seed", type=int, default=0, help="of sentences and perturbations (0)")
    made.add_argument("--fresh", action="store_true", help="export again even if a bundle is there")
    arguments = made.parse_args(argv)
    started = time.perf_counter()
    folder = Path(arguments.folder)
    train, test = review_sentences(arguments.train, arguments.test, arguments.seed)
    bundle = demo_bundle(folder, arguments.fresh)
    export_seconds = time.perf_counter() - started
    shutil.rmtree(folder / "user", ignore_errors=True)  # the demo's own user starts anew
    from dsa_edge.runtime import Personalizer

    with Personalizer.open(bundle, folder / "user") as me:
        began = time.perf_counter()
        labels, rest = pick_with_progress(me, LABELS, train, seed=arguments.seed)
        pick_seconds = time.perf_counter() - began
        report = fit_with_progress(me, [labels.example(*row) for row in rest], arguments)
        bare = [LABELS.example(*row) for row in test[:BARE]]
        prompts = [labels.example(*row) for row in test]
        with progress(len(bare) + len(test), "held-out sentences", "sentence") as bar:
            (before,) = me.evaluate(bare, (0,), bar.update)
            shown, after = me.evaluate(prompts, (0, me.version), bar.update)
        answers = _answers(me, bare, prompts)
        store_bytes, engine = me.store_bytes, me.engine
    data = {
        "accuracy_before": before.accuracy,
        "accuracy_with_examples": shown.accuracy,
        "accuracy_after": after.accuracy,
        "held_out_sentences": after.examples,
        "held_out_sentences_before": before.examples,
        "pick_seconds": pick_seconds,
        "export_seconds": export_seconds,
        "bundle_bytes": Bundle.open(bundle, check_hashes=False).bytes,
        "store_bytes": store_bytes,
        **engine,
        "total_seconds": time.perf_counter() - started,
        "report": folder / "report.html",
        "plots": write_plots(folder / "plots", plots_of(report)),
        **report.to_dict(),
    }
    rows = _rows(data, report, (before, shown, after))
    write_report(folder / "report.html", report, "SmolLM2-135M learns review labels", rows, answers)
    where = [("report", (folder / "report.html").resolve().as_uri()), ("plots", folder / "plots")]
    emit(arguments, data, table([*rows, *where]))
    return 0


def demo_bundle(folder: Path, fresh: bool = False, backend: str = "onnx") -> Path:
    """The demo's bundle in `folder`, exported unless a whole one is there.

    The export has a process of its own, so that torch never enters this one.
    """
    bundle = folder / "smollm2.dsa"
    if not fresh and _usable(bundle):
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dsa_edge.cli", "export", str(find_model()), str(bundle)]
    command += ["--backend", backend]
    done = subprocess.run([*command, "--force", "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        reason = json.loads(done.stdout or "{}").get("error", f"exit code {done.returncode}")
        raise ExportError(f"the export of the demo's model failed: {reason}")
    return bundle


def _usable(bundle: Path) -> bool:
    try:
        Bundle.open(bundle)
    except BundleError:
        return False
    return True


def _answers(
    me: Personalizer, bare: Sequence[Example], prompts: Sequence[Example]
) -> list[BeforeAfter]:
    """Answers to a few held-out sentences, by the base alone and by the version in use."""
    answers = []
    for plain, example in list(zip(bare, prompts, strict=False))[:SHOWN]:
        before = me.choose(plain.prompt, plain.choices, 0).text
        after = me.choose(example.prompt, example.choices).text
        answers.append(BeforeAfter(plain.prompt, plain.response, before, after))
    return answers


def _rows(
    data: dict[str, Any], report: Report, stages: tuple[Evaluation, Evaluation, Evaluation]
) -> list[tuple[str, str]]:
    before, shown, after = (f"{stage.accuracy:.3f}" for stage in stages)
    return [
        ("accuracy before", f"{before} on {stages[0].examples} held-out sentences"),
        ("with 4 examples", f"{shown}, the user's own, in the prompt"),
        ("accuracy after", after),
        ("learned from", f"{report.examples} sentences, {report.steps} steps, {report.verdict}"),
        ("picking them", f"{data['pick_seconds']:.1f} s"),
        ("learning time", f"{report.fit_seconds:.1f} s, {report.step_seconds:.2f} s a step"),
        ("peak memory", f"{report.peak_mb:.0f} MB"),
        ("bytes a user", f"{report.adapter_bytes} adapter, {data['store_bytes']} with journal"),
        ("bundle", f"{data['bundle_bytes'] / 1e6:.1f} MB, ready in {data['export_seconds']:.0f} s"),
        ("total time", f"{data['total_seconds']:.0f} s"),
    ]
