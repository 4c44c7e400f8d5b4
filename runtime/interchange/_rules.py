"""What an `adapter_config.json` means: the factor on B A of each linear, or why it is refused.

    PEFT     y += (alpha / r) B A x, or alpha / √r with `use_rslora`; `alpha_pattern` changes alpha,
             `rank_pattern` the rank of the linears whose names end in a pattern
    MLX-LM   y += scale (x A) B

Whatever else changes what a file computes is refused by its name, never ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsa_edge.errors import AdapterError

__all__ = ["Rules", "read_rules"]

LARGEST = 1e6  # of a factor; JSON knows no limit, float32 does
# Entries of PEFT that do not change what a saved LoRA computes.
_INERT = frozenset(
    [
        "task_type",
        "peft_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "peft_version",
        "r",
        "lora_alpha",
        "use_rslora",
        "alpha_pattern",
        "rank_pattern",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "lora_dropout",
        "init_lora_weights",
        "loftq_config",
        "eva_config",
        "runtime_config",
        "qalora_group_size",
        "ensure_weight_tying",
        "unsloth_fixed",
        "lora_ga_config",
        "megatron_core",
        "bias",
    ]
)
# The starts that leave the base as it is; with the others B A alone is not what was learned.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_INSTEAD = {
    "use_dora": "DoRA also rescales the weight's columns",
    "modules_to_save": "it comes with whole retrained modules",
    "lora_bias": "its B has biases",
    "alora_invocation_tokens": "it acts from an invocation sequence on",
    "layer_replication": "it changes the number of layers",
    "trainable_token_indices": "it comes with retrained embeddings",
    "target_parameters": "it adapts parameters, not linears",
    "fan_in_fan_out": "its weights are transposed",
}


class Rules:
    """A configuration that was understood.

    rank: that of the linears without a rank of their own, None where the file does not say.
    """

    def __init__(
        self, source: str, base: str | None, rank: int | None, factor: float,
        patterns: tuple[dict[str, float], dict[str, float]] = ({}, {}), rslora: bool = False,
    ) -> None:  # fmt: skip
        self.source, self.base, self.rank = source, base, rank
        self._factor, self._rslora = factor, rslora
        self._ranks, self._alphas = patterns

    def rank_of(self, module: str) -> int | None:
        """The rank that the configuration states for a linear."""
        own = _matching(self._ranks, module)
        return self.rank if own is None else int(own)

    def scale(self, module: str, rank: int) -> float:
        """The factor on B A of a linear."""
        if self.source == "MLX-LM":
            return self._factor
        alpha = _matching(self._alphas, module)
        alpha = self._factor if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self._rslora else rank)


def read_rules(file: Path, config: Mapping[str, Any]) -> Rules:
    """What a configuration means. Raises AdapterError for what maps to no LoRA of ours."""
    if "lora_parameters" in config or "fine_tune_type" in config:
        return _mlx(file, config)
    if "peft_type" not in config:
        raise _refused(file, "peft_type or lora_parameters", "neither", "give a folder that PEFT, "
                       "Unsloth or MLX-LM saved")  # fmt: skip
    return _peft(file, config)


def _peft(file: Path, config: Mapping[str, Any]) -> Rules:
    if config["peft_type"] != "LORA":
        raise _refused(file, "peft_type LORA", repr(config["peft_type"]), "train a LoRA instead")
    for name, value in config.items():
        if name in _INERT or value in (None, False, {}, []):
            continue
        why = _INSTEAD.get(name, "this dsa-edge does not know it")
        raise _refused(file, f"no {name}", _short(value), f"{why}: train without it, or merge it")
    _check_start(file, config)
    rank, alpha = _number(file, config, "r"), _number(file, config, "lora_alpha", 8)
    patterns = _patterns(file, config, "rank_pattern"), _patterns(file, config, "alpha_pattern")
    if rank != int(rank) or any(value != int(value) for value in patterns[0].values()):
        raise _refused(file, "whole ranks", _short(rank), "save the adapter again")
    base = config.get("base_model_name_or_path")
    return Rules("PEFT", base if isinstance(base, str) else None, int(rank), alpha, patterns,
                 bool(config.get("use_rslora")))  # fmt: skip


def _check_start(file: Path, config: Mapping[str, Any]) -> None:
    if config.get("bias", "none") != "none":
        raise _refused(file, "bias 'none'", _short(config["bias"]), "train without biases")
    start = config.get("init_lora_weights", True)
    if start not in _STARTS:
        raise _refused(
            file, "a start that leaves the base as it is", f"init_lora_weights {_short(start)}",
            "save it with PEFT's path_initial_model_for_weight_conversion, which makes a plain "
            "LoRA of it",
        )  # fmt: skip


def _mlx(file: Path, config: Mapping[str, Any]) -> Rules:
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise _refused(file, "fine_tune_type 'lora'", _short(kind), "train a LoRA instead")
    stated = config.get("lora_parameters")
    if not isinstance(stated, Mapping):
        raise _refused(file, "lora_parameters", _short(stated), "save the adapter again")
    if stated.get("alpha") is not None:  # whether it counts depends on the version that wrote it
        raise _refused(file, "lora_parameters with scale alone", "alpha as well",
                       "take alpha out, multiplying scale by alpha / rank where an old MLX-LM "
                       "wrote it")  # fmt: skip
    base, rank = config.get("model"), int(_number(file, stated, "rank"))
    scale = _number(file, stated, "scale")
    return Rules("MLX-LM", base if isinstance(base, str) else None, rank, scale)


def _number(
    file: Path, config: Mapping[str, Any], name: str, default: float | None = None
) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LARGEST:
        expected = f"{name} as a number above 0 and at most {LARGEST:g}"
        raise _refused(file, expected, _short(value), "save the adapter again")
    return float(value)


def _patterns(file: Path, config: Mapping[str, Any], name: str) -> dict[str, float]:
    """Names or ends of names, each with its number; PEFT's regular expressions are refused."""
    stated = config.get(name) or {}
    if not isinstance(stated, Mapping):
        raise _refused(file, f"{name} as an object", _short(stated), "save the adapter again")
    for pattern in stated:
        if not re.fullmatch(r"\^?[A-Za-z0-9_.]{1,200}", pattern):
            raise _refused(file, f"names of modules in {name}", _short(pattern),
                           "train without expressions in it")  # fmt: skip
    return {pattern: _number(file, stated, pattern) for pattern in stated}


def _matching(patterns: Mapping[str, float], module: str) -> float | None:
    """The number of the first pattern that is a module's name, or the end of it after a dot."""
    for pattern, number in patterns.items():
        name = pattern.removeprefix("^")
        whole = module == name
        if whole or (name == pattern and module.endswith(f".{name}")):
            return number
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _refused(file: Path, expected: str, got: str, action: str) -> AdapterError:
    return AdapterError(f"{file}: expected {expected}, got {got}: {action}.")
