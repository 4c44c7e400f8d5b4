"""Foreign adapters that do not fit, or that are made to break the reader: one sentence each."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import Q, pair, tensors

from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, BundleError
from dsa_edge.runtime.interchange import import_adapter
from dsa_edge.weights import _fields, read_frozen

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "ADALORA"}, "peft_type LORA, got 'ADALORA'"),
        ({"peft_type": None}, "peft_type LORA, got None"),
        ({"use_dora": True}, "no use_dora.*DoRA"),
        ({"bias": "all"}, "bias 'none', got 'all'"),
        ({"lora_bias": True}, "no lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "no modules_to_save.*lm_head"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"invented_later": {"a": 1}}, "no invented_later.*does not know"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'.*path_initial_model"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights"),
        ({"alpha_pattern": {".*q_proj|v_proj": 4}}, "names of modules in alpha_pattern"),
        ({"alpha_pattern": {"(a+)+$": 4}}, "names of modules"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern as an object"),
        ({"rank_pattern": {"q_proj": 1.5}}, "whole ranks"),
        ({"r": 0}, "r as a number above 0"),
        ({"r": "2"}, "r as a number"),
        ({"r": True}, "r as a number"),
        ({"r": 3}, "rank of its partner .2. and of the file .3."),
        ({"lora_alpha": float("nan")}, "lora_alpha as a number"),
        ({"lora_alpha": 1e300}, "lora_alpha as a number"),
        ({"lora_alpha": -2}, "lora_alpha as a number"),
    ],
)
def test_a_configuration_that_means_something_else_is_refused_by_name(
    lora: Bundle, peft_folder: Write, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(AdapterError, match=reason):
        import_adapter(lora, peft_folder(tensors(), config))


def shaped(a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, Any]:
    one = {f"{Q}.lora_A.weight": np.ones(a, np.float32)}
    return one | {f"{Q}.lora_B.weight": np.ones(b, np.float32)}


A, B = pair()
NAN = np.full((2, 64), np.nan, np.float32)
HUGE = np.full((64, 2), 3e38, np.float32)
LAYER0 = Q.replace("layers.1", "layers.0")


@pytest.mark.parametrize(
    ("given", "config", "reason"),
    [
        (tensors() | {"lm_head.weight": A}, {}, "1 of 3 tensors.*lm_head.weight"),
        ({f"x{i}": A for i in range(9)}, {}, "9 of 9 tensors.*x3 and 5 more"),
        ({}, {}, "0 of 0 tensors"),
        ({f"{Q}.lora_A.weight": A}, {}, "layers.1.q.a without its partner"),
        (tensors() | {f"{Q}.lora_A.default.weight": A}, {}, "layers.1.q.a twice"),
        (tensors(LAYER0), {}, r"no place for layers.0.q.a, layers.0.q.b.*--rank 2 .*--split 0`"),
        (tensors(Q.replace("layers.1", "layers.40")), {}, "adapts layer 40.*base has 3"),
        (tensors(rank=5), {"r": 5}, "rank 5.*this bundle's is 4.*--rank 5"),
        (shaped((2, 65), (64, 2)), {}, r"shape \(2, 65\).*expected \(r, 64\)"),
        (shaped((64, 2), (2, 64)), {}, r"shape \(64, 2\)"),
        (shaped((2, 64), (64, 3)), {}, "rank of its partner"),
        (shaped((0, 64), (64, 0)), {}, r"shape \(0, 64\)"),
        (shaped((2, 64, 1), (64, 2)), {}, r"shape \(2, 64, 1\)"),
        (shaped((128,), (64, 2)), {}, r"shape \(128,\)"),
        (tensors() | {f"{Q}.lora_A.weight": NAN}, {}, "not finite"),
        (tensors() | {f"{Q}.lora_B.weight": HUGE}, {"lora_alpha": 200}, "factor 100"),
        (tensors() | {f"{Q}.lora_A.weight": A.astype(np.int32)}, {}, "as I32"),
    ],
)
def test_tensors_without_a_place_are_errors(
    lora: Bundle, peft_folder: Write, given: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(AdapterError, match=reason):
        import_adapter(lora, peft_folder(given, config))


def test_a_bundle_of_another_kind_says_how_to_export_one(bundle: Path, peft_folder: Write) -> None:
    with pytest.raises(AdapterError, match=r"kind core, expected.*--adapter lora --rank 2 .*q"):
        import_adapter(Bundle.open(bundle), peft_folder(tensors()))


def header(content: object) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


HOSTILE = {
    "empty": b"",
    "no safetensors": b"PK\x03\x04" * 10,
    "cut off": header({f"{Q}.lora_A.weight": {
        "dtype": "F32", "shape": [2, 64], "data_offsets": [0, 512]}}) + bytes(100),
    "a header of exabytes": struct.pack("<Q", 2**62),
    "an absurd shape": header({f"{Q}.lora_A.weight": {
        "dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}),
    "4 bits": header({f"{Q}.lora_A.weight": {
        "dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}}) + bytes(4),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(lora: Bundle, peft_folder: Write, name: str) -> None:
    folder = peft_folder(tensors())
    (folder / "adapter_model.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(AdapterError, match="safetensors|tensors|without quantization"):
        import_adapter(lora, folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, "\xff", '{"peft_type": "LORA"}', "{}", " " * 2**21],
)
def test_hostile_configurations_are_refused(lora: Bundle, peft_folder: Write, text: str) -> None:
    folder = peft_folder(tensors())
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        import_adapter(lora, folder)


def test_missing_files_and_pickles_are_told(lora: Bundle, peft_folder: Write) -> None:
    folder = peft_folder(tensors())
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="only adapter_model.bin.*again in safetensors"):
        import_adapter(lora, folder)
    with pytest.raises(AdapterError, match=r"no adapter_config\.json"):
        import_adapter(lora, folder.parent / "nothing")


def test_a_damaged_graph_is_one_sentence(bundle_copy: Path) -> None:
    opened = Bundle.open(bundle_copy)
    file = opened.method_file("probe")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff" * 50):
        file.write_bytes(damaged)
        with pytest.raises(BundleError, match="cannot be read"):
            read_frozen(opened)


@pytest.mark.parametrize("raw", [b"\x80", b"\x3a\xff\xff\x03", b"\x3b", b"\x09\x00", b"\xff" * 12])
def test_no_bytes_break_the_reader_of_graphs(raw: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(_fields(memoryview(raw)))
