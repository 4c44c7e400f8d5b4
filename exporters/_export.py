"""`export`: checkpoint → decoder → subspace → graphs → golden prompt → verify → bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import hash_file
from dsa_edge.errors import MissingDependencyError, UsageError
from dsa_edge.exporters._chat import take_apart
from dsa_edge.exporters._golden import GOLDEN_TOKENS, golden_tokens
from dsa_edge.exporters._stages import Stages, put_in_place, staging
from dsa_edge.exporters._start import check_start, finish, info_of
from dsa_edge.exporters._verify import Check, verify
from dsa_edge.exporters.adapters import BLOCKS
from dsa_edge.exporters.checkpoint import Checkpoint, open_checkpoint, tokenizer_info
from dsa_edge.exporters.decoder import build_decoder, with_context, with_group
from dsa_edge.exporters.executorch import programs_folder, write_programs
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.onnx import MethodInfo, write_graphs
from dsa_edge.exporters.quantization import Recipe
from dsa_edge.exporters.training import Pruning, Thinned, prune
from dsa_edge.kernels.gated_lowrank import MAX_RANK
from dsa_edge.manifest import (
    BaseInfo,
    FileEntry,
    Golden,
    Manifest,
    TokenizerInfo,
)
from dsa_edge.programs import ExecutorchInfo
from dsa_edge.pruned import Pruned
from dsa_edge.quantization import QuantizationInfo
from dsa_edge.start import load_start
from dsa_edge.tokenizer import Tokenizer

__all__ = ["BACKENDS", "ExportReport", "export"]

BACKENDS = ("onnx", "executorch")
GOLDEN_PROMPT = "2, 4, 6, 8,"  # goes on without a close call in any model that can count
_PRODUCERS = ("dsa-edge", "torch", "onnx", "onnxruntime", "onnxscript", "executorch", "numpy")


@dataclass(frozen=True)
class ExportReport:
    """What an export made: where, how large, how long each stage took in seconds.

    operators: of ExecuTorch programs, what the device must have besides XNNPACK.
    delegated: share of the base's multiply-adds that XNNPACK runs; None without such programs.
    pruned: what was left out of the base, None of a whole one.
    quantized: what calibration came to; None without.
    chats: whether the native runner can render chats; None without a chat template.
    """

    bundle: Path
    bytes: int
    adapter_size: int
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    operators: tuple[str, ...] = ()
    delegated: float | None = None
    pruned: Pruned | None = None
    quantized: QuantizationInfo | None = None
    chats: bool | None = None


def export(
    checkpoint: str | Path,
    bundle: str | Path,
    backends: Sequence[str] = ("onnx",),
    quantize: str = "int4",
    adapter: AdapterSpec | None = None,
    accuracy_level: int = 4,
    overwrite: bool = False,
    check: bool = True,
    keep_programs: bool = True,
    gradients: bool = False,
    pruning: Pruning | None = None,
    on_stage: Callable[[str], object] | None = None,
    calibration: str | Path | Sequence[str] | None = None,
    weak_columns: int = 0,
    context: int | None = None,
    attention_group: int | None = None,
    start: str | Path | None = None,
) -> ExportReport:
    """Export a base model with an adapter into a bundle folder.

    checkpoint: a Hugging Face folder (safetensors) or a GGUF file.
    bundle: the folder to write; it appears whole, or not at all.
    quantize: `int4`, `int8` or `gptq` (4 bits, calibrated), for linears that the checkpoint does
        not already hold quantized.
    accuracy_level: 4 rounds activations to int8 inside the products, 0 keeps them float32.
    overwrite: replace an existing bundle, once the new one is complete.
    check: verify the bundle before it is put in place.
    keep_programs: use ExecuTorch programs that an earlier export lowered for the same geometry,
        and keep new ones, in this user's cache folder.
    gradients: write graphs of exact gradients too, for the estimator `exact` on ONNX Runtime; they
        need the transposes of the adapted layers' weights.
    pruning: leave out what a task needs least of the base and of the adapter.
    on_stage: called with the name of each stage as it begins.
    calibration: JSONL file or texts that `gptq` and `weak_columns` are measured on.
    weak_columns: inputs of q, k, v, gate, up and down that stay in float16, a multiple of 32.
    context: tokens of prompt and response together, if more than the checkpoint was trained on:
        positions are interpolated (2306.15595).
    attention_group: write a graph of shifted sparse attention in groups of so many tokens too, by
        which a fit on ONNX Runtime runs prompts that are longer.
    start: a learned start (`dsa-edge meta-train`), at which users then begin.
    Raises UsageError, MissingDependencyError, CheckpointError, AdapterError for a start that does
    not belong here, or ExportError naming the stage that failed.
    """
    target, spec = Path(bundle), adapter or AdapterSpec()
    recipe = Recipe(quantize, weak_columns, calibration)
    _check_options(target, backends, accuracy_level, overwrite)
    _check_graphs(gradients, attention_group, backends, spec)
    _check_pruning(pruning, recipe)
    learned = None if start is None else load_start(start)
    stages, started = Stages(on_stage), time.perf_counter()
    with staging(target) as folder:
        opened = partial(_opened, checkpoint, spec, context, attention_group)
        thinned = _thinned(opened, spec, pruning, stages)
        source, model, quantized = _built(opened, spec, thinned, recipe, gradients, stages)
        base, pruned = _base(source, recipe, accuracy_level), thinned.pruned if thinned else None
        check_start(learned, source, model, base, pruned, quantized)
        methods, programs = _written(model, folder, backends, accuracy_level, keep_programs, stages)
        with stages("tokenizer"):
            info = _write_tokenizer(source, folder)
            chat = take_apart(source.tokenizer_json, info, source.chat_template)
        with stages("golden"):
            golden = _golden(folder, source, info, model)
        with stages("manifest"):
            manifest = Manifest(
                base, asdict(model.decoder.spec), model.adapter, info, methods, _files(folder),
                golden, _producers(), programs, pruned=pruned, quantized=quantized,
                start=info_of(learned), chat=chat,
            )  # fmt: skip
            size = finish(folder, manifest, model, learned)
        checks = _verified(folder, stages) if check else ()
        put_in_place(folder, target)
    report = ExportReport(
        target, size, model.size, time.perf_counter() - started, stages.seconds, checks,
        pruned=pruned, quantized=quantized,
        chats=None if source.chat_template is None else chat is not None,
    )  # fmt: skip
    if programs is None:
        return report
    return replace(report, operators=programs.operators, delegated=programs.delegated)


def _verified(folder: Path, stages: Stages) -> tuple[Check, ...]:
    with stages("verify"):
        return tuple(verify(folder, stages.detail))


def _base(source: Checkpoint, recipe: Recipe, accuracy_level: int) -> BaseInfo:
    return BaseInfo(
        source.name, source.source, source.sha256, source.licence, recipe.quantize, accuracy_level
    )


def _written(
    model: AdaptedModel,
    folder: Path,
    backends: Sequence[str],
    accuracy_level: int,
    keep_programs: bool,
    stages: Stages,
) -> tuple[dict[str, MethodInfo], ExecutorchInfo | None]:
    """What the backends made of the model: methods of ONNX graphs, ExecuTorch programs."""
    methods: dict[str, MethodInfo] = {}
    if "onnx" in backends:
        with stages("graphs"):
            methods = write_graphs(model, folder, accuracy_level, stages.detail)
    if "executorch" not in backends:
        return methods, None
    with stages("programs"):
        kept = programs_folder() if keep_programs else None
        return methods, write_programs(model, folder, stages.detail, kept)


def _check_options(
    target: Path, backends: Sequence[str], accuracy_level: int, overwrite: bool
) -> None:
    unknown = [backend for backend in backends if backend not in BACKENDS]
    if unknown or not backends:
        raise UsageError(
            f"backends are {list(backends)}, expected some of {', '.join(BACKENDS)}: "
            "correct --backend."
        )
    if "executorch" in backends and not (find_spec("executorch") and find_spec("torchao")):
        raise MissingDependencyError("executorch", "executorch", "the ExecuTorch backend")
    if accuracy_level not in (0, 4):
        raise UsageError(f"accuracy_level is {accuracy_level}, expected 0 (float32) or 4 (int8).")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists: choose another name, or pass --force to replace it.")
    if target.exists() and not (target / "manifest.json").exists():
        raise UsageError(
            f"{target} is not a bundle, so it will not be replaced: remove it yourself."
        )


def _check_graphs(
    gradients: bool, attention_group: int | None, backends: Sequence[str], spec: AdapterSpec
) -> None:
    """Refuse graphs that only ONNX Runtime runs where it is not a backend."""
    if gradients and ("onnx" not in backends or spec.invocation > 1):
        raise UsageError(
            f"gradients need the onnx backend and invocation 1, got {','.join(backends)} and "
            f"{spec.invocation}: change --backend or --invocation, or leave --gradients out."
        )

    if attention_group is not None and "onnx" not in backends:
        raise UsageError(
            f"an attention group needs the onnx backend, got {','.join(backends)}: its graph runs "
            "on ONNX Runtime alone; change --backend, or leave --attention-group out."
        )


def _check_pruning(pruning: Pruning | None, recipe: Recipe) -> None:
    if pruning is not None and recipe.weak_columns:
        raise UsageError(
            f"weak_columns is {recipe.weak_columns} with a pruned base, expected one of the two: "
            "weak columns reorder the channels that pruning keeps in place; leave --weak-columns "
            "or --prune out."
        )


def _check_rank(spec: AdapterSpec, source: Checkpoint) -> None:
    spec.check(source.spec.geometry)
    if spec.rank > MAX_RANK and BLOCKS[spec.kind].gated:
        raise UsageError(f"rank is {spec.rank}, the kernels take at most {MAX_RANK}: lower --rank.")


def _opened(
    checkpoint: str | Path, spec: AdapterSpec, context: int | None, attention_group: int | None
) -> Checkpoint:
    """The checkpoint, unless the adapter has no place on it or the context is not one of its."""
    source = open_checkpoint(checkpoint)
    if context is not None:
        source.spec = with_context(source.spec, context)
    if attention_group is not None:
        source.spec = with_group(source.spec, attention_group)
    _check_rank(spec, source)
    return source


def _built(
    opened: Callable[[], Checkpoint],
    adapter: AdapterSpec,
    thinned: Thinned | None,
    recipe: Recipe,
    gradients: bool,
    stages: Stages,
) -> tuple[Checkpoint, AdaptedModel, QuantizationInfo | None]:
    """The checkpoint, the model made of what pruning and rounding leave, and what of rounding."""
    spec = thinned.adapter if thinned else adapter
    with stages("checkpoint"):
        source = opened()
        base = thinned.source if thinned else source
        recipe.check(base.spec, spec)
        weights, quantized = recipe.apply(source, base, stages.detail)
        model = AdaptedModel(build_decoder(weights, recipe.bits), spec, gradients).eval()
    with stages("subspace"):
        for layer in range(model.split, source.spec.n_layers):
            (thinned or AdaptedModel).add_blocks(model, layer)
    return source, model, quantized


def _thinned(
    opened: Callable[[], Checkpoint], spec: AdapterSpec, pruning: Pruning | None, stages: Stages
) -> Thinned | None:
    if pruning is None:
        return None
    with stages("prune"):
        return prune(opened(), spec, pruning, stages.detail)


def _write_tokenizer(source: Checkpoint, folder: Path) -> TokenizerInfo:
    (folder / "tokenizer.json").write_text(source.tokenizer_json, encoding="utf-8")
    if source.chat_template is not None:
        (folder / "chat_template.jinja").write_text(source.chat_template, encoding="utf-8")
    return tokenizer_info(source, hash_file(folder / "tokenizer.json"))


def _golden(folder: Path, source: Checkpoint, info: TokenizerInfo, model: AdaptedModel) -> Golden:
    tokenizer = Tokenizer(source.tokenizer_json, info)
    invocation = model.adapter.invocation
    ids = tokenizer.encode_prompt(GOLDEN_PROMPT)
    ids = [info.pad_id] * max(0, invocation + 1 - len(ids)) + ids
    if (folder / "onnx").is_dir():
        tokens = golden_tokens(folder, np.array(ids, dtype=np.int64), invocation, model.size)
    else:
        tokens = _torch_tokens(model, ids)
    return Golden(GOLDEN_PROMPT, tuple(ids), tuple(tokens))


def _torch_tokens(model: AdaptedModel, prompt: list[int]) -> list[int]:
    """What the torch model itself goes on with, greedily."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(GOLDEN_TOKENS):
            ids.append(int(model.decoder(torch.tensor([ids]))[0, 0, -1].argmax()))
    return ids[len(prompt) :]


def _files(folder: Path) -> dict[str, FileEntry]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): FileEntry(hash_file(path), path.stat().st_size)
        for path in files
    }


def _producers() -> dict[str, str]:
    found = {}
    for package in _PRODUCERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
