"""`dsa-edge export`: a base model → a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dsa_edge.cli._adapter import adapter_of, add_adapter
from dsa_edge.cli._common import comma_list, emit, parser, progress, table
from dsa_edge.cli._pruning import add_pruning, pruned_rows, pruning_of

if TYPE_CHECKING:
    from dsa_edge.exporters import ExportReport

__all__ = ["add_options", "main", "run"]

EXAMPLES = """\
  dsa-edge export SmolLM2-135M-Instruct/ smol.dsa
  dsa-edge export model.Q4_1.gguf small.dsa --rank 8 --split 0.75 --targets q,v,down
  dsa-edge export model/ both.dsa --backend onnx,executorch
  dsa-edge export model/ exact.dsa --quantize int8 --accuracy-level 0 --json
  dsa-edge export model/ thin.dsa --prune 0.25 --prune-on reviews.jsonl \\
      --template '{text} It was' --labels terrible,great
  dsa-edge export model/ gated.dsa --blocks 8 --active 2
  dsa-edge export model/ better.dsa --quantize gptq --calibrate texts.jsonl --weak-columns 32
  dsa-edge export model/ learned.dsa --start start.safetensors"""
DESCRIPTION = """Export a base model with an adapter into a bundle.

HF folder or GGUF ──▶ decoder ──▶ quantize ──▶ subspace ──▶ graphs ──▶ verify ──▶ bundle"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("export", DESCRIPTION, EXAMPLES)
    made.add_argument("checkpoint", help="Hugging Face folder (safetensors) or GGUF file")
    made.add_argument("bundle", help="folder to write")
    add_options(made)
    return run(made.parse_args(argv))


def run(arguments: argparse.Namespace) -> int:
    """Export as the options say, `checkpoint` to `bundle`, and tell what was made."""
    adapter = adapter_of(arguments)
    pruning = pruning_of(arguments)
    from dsa_edge.exporters import export

    with progress(None, "export", "stage") as bar:

        def on_stage(stage: str) -> None:
            bar.set_description(stage)
            bar.update()

        report = export(
            arguments.checkpoint,
            arguments.bundle,
            backends=comma_list(arguments.backend),
            quantize=arguments.quantize,
            adapter=adapter,
            accuracy_level=arguments.accuracy_level,
            overwrite=arguments.force,
            check=not arguments.no_verify,
            keep_programs=not arguments.fresh_programs,
            gradients=arguments.gradients,
            pruning=pruning,
            on_stage=on_stage,
            calibration=arguments.calibrate,
            weak_columns=arguments.weak_columns,
            context=arguments.context,
            attention_group=arguments.attention_group,
            start=arguments.start,
        )
    emit(arguments, asdict(report), table(_rows(report)))
    return 0


def add_options(made: argparse.ArgumentParser) -> None:
    """All options of an export, beside what is exported and to where."""
    made.add_argument(
        "--backend", default="onnx", help="onnx, executorch or both by comma (default: onnx)"
    )
    _add_bits(made)
    add_adapter(made)
    made.add_argument(
        "--start", metavar="FILE", help="a learned start, as `dsa-edge meta-train` writes it"
    )
    made.add_argument(
        "--fresh-programs",
        action="store_true",
        help="lower ExecuTorch programs again, also those kept from earlier exports",
    )
    made.add_argument(
        "--gradients",
        action="store_true",
        help="write exact gradients as graphs too, for `personalize --estimator exact`",
    )
    add_pruning(made)
    made.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="tokens of prompt and response, if more than the checkpoint was trained on",
    )
    made.add_argument(
        "--attention-group",
        type=int,
        metavar="G",
        help="learn from prompts of more than G tokens by shifted sparse attention (ONNX Runtime)",
    )
    made.add_argument("--force", action="store_true", help="replace an existing bundle")
    made.add_argument("--no-verify", action="store_true", help="skip the check at the end")


def _add_bits(made: argparse.ArgumentParser) -> None:
    """How many bits weights and activations have, and what decides them."""
    made.add_argument(
        "--quantize",
        default="int4",
        help="int4, int8, or gptq: 4 bits calibrated on texts (default: int4)",
    )
    made.add_argument(
        "--calibrate",
        metavar="FILE",
        help="JSONL whose texts gptq and weak columns are measured on: lines as for `personalize`, "
        'or {"text": ...}',
    )
    made.add_argument(
        "--weak-columns",
        type=int,
        default=0,
        metavar="K",
        help="inputs of q k v gate up down that stay in 16 bits, a multiple of 32 (default: none)",
    )
    made.add_argument(
        "--accuracy-level",
        type=int,
        default=4,
        help="4: int8 activations in the products, 0: float32 (default: 4)",
    )


def _rows(report: ExportReport) -> list[tuple[str, object]]:
    programs: list[tuple[str, object]] = []
    if report.delegated is not None:
        programs = [
            ("delegated", f"{report.delegated:.1%} of the base's multiply-adds, to XNNPACK"),
            ("operators", ", ".join(report.operators)),
        ]
    if report.quantized:
        programs.append(("quantized", report.quantized.text))
    if report.chats is False:
        programs.append(("chats", "in Python alone: their template does more than join texts"))
    return [
        ("bundle", report.bundle),
        ("size", f"{report.bytes / 1e6:.1f} MB"),
        (
            "adapter",
            f"{report.adapter_size} numbers, {report.adapter_size * 4 / 1e3:.1f} kB a user",
        ),
        ("time", f"{report.seconds:.1f} s"),
        *((f"  {stage}", f"{seconds:.1f} s") for stage, seconds in report.stages.items()),
        *pruned_rows(report.pruned),
        *programs,
        ("verified", ", ".join(check.stage for check in report.checks) or "no"),
    ]
