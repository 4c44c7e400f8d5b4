"""LoRAs of PEFT, Unsloth and MLX-LM become adapters of ours, exactly or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import Q, pair, tensors
from safetensors.numpy import save_file

from dsa_edge.adapter import Adapter, load_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.runtime.interchange import export_adapter, import_adapter
from dsa_edge.runtime.interchange._deltas import Delta, deltas
from dsa_edge.runtime.interchange._names import parse

Write = Callable[..., Path]


def delta_of(bundle: Bundle, adapter: Adapter, layer: int, target: str) -> Delta:
    (found,) = (d for d in deltas(bundle, adapter) if (d.layer, d.target) == (layer, target))
    return found


def test_what_we_write_comes_back_to_the_bit(
    lora: Bundle, learned: Callable[[Bundle], Adapter], tmp_path: Path
) -> None:
    adapter = learned(lora)
    export_adapter(lora, adapter, tmp_path / "out")
    back = import_adapter(lora, tmp_path / "out")
    np.testing.assert_array_equal(back.adapter.vector, adapter.vector)
    assert back.source == "PEFT"
    assert len(back.mapping) == len(lora.manifest.slots) == 28
    assert {line.factor for line in back.mapping} == {1.0}


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"lora_alpha": 2}, 1.0),
        ({"lora_alpha": 16}, 8.0),
        ({"lora_alpha": 16, "use_rslora": True}, 16 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 8}}, 4.0),
        ({"alpha_pattern": {"self_attn.q_proj": 8}}, 4.0),
        ({"alpha_pattern": {"^model.layers.1.self_attn.q_proj": 8}}, 4.0),
        ({"alpha_pattern": {"_proj": 8, "1.self_attn.v_proj": 8, "^q_proj": 8}}, 1.0),
        ({"r": 64, "rank_pattern": {"q_proj": 2}}, 1.0),
        ({"init_lora_weights": "gaussian", "target_modules": ["q_proj"], "new": None}, 1.0),
    ],
)
def test_the_factor_on_b_a_is_that_of_the_configuration(
    lora: Bundle, peft_folder: Write, config: dict[str, Any], factor: float
) -> None:
    a, b = pair()
    made = import_adapter(lora, peft_folder(tensors(), config))
    found = delta_of(lora, made.adapter, 1, "q")
    np.testing.assert_array_equal(found.a[:2], a)
    np.testing.assert_array_equal(found.b[:, :2], b * np.float32(factor))


def test_a_smaller_rank_is_filled_up_so_that_nothing_is_added(
    lora: Bundle, peft_folder: Write
) -> None:
    made = import_adapter(lora, peft_folder(tensors()))
    initial = load_adapter(
        lora.path / "adapter.safetensors", lora.identity, lora.manifest.adapter_size
    )
    a, b = pair()
    found, start = (delta_of(lora, x, 1, "q") for x in (made.adapter, initial))
    np.testing.assert_allclose(found.dense, b @ a, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.a[2:], start.a[2:])  # a later fit can use them
    assert not found.b[:, 2:].any()
    assert all(not d.b.any() for d in deltas(lora, made.adapter) if (d.layer, d.target) != (1, "q"))
    assert any("13 linears that the bundle adapts are not in the file" in n for n in made.notes)


def test_every_library_is_told_that_its_lora_acts_elsewhere(
    lora: Bundle, peft_folder: Write
) -> None:
    folder = peft_folder(tensors(), {"base_model_name_or_path": "some/other-model"})
    notes = " ".join(import_adapter(lora, folder).notes)
    assert "acts on every token" in notes
    assert "trained on some/other-model, this bundle's base is called llama" in notes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_narrow_and_wide_numbers_are_read(lora: Bundle, peft_folder: Write, dtype: Any) -> None:
    import safetensors.torch

    folder = peft_folder(tensors())
    exact = {name: torch.from_numpy(value).to(dtype) for name, value in tensors().items()}
    safetensors.torch.save_file(exact, folder / "adapter_model.safetensors")
    found = delta_of(lora, import_adapter(lora, folder).adapter, 1, "q")
    np.testing.assert_array_equal(found.a[:2], exact[f"{Q}.lora_A.weight"].float().numpy())


def mlx_folder(place: Path, scale: float = 20.0, **changes: Any) -> Path:
    a, b = pair()
    stem = "model.layers.1.self_attn.q_proj"
    turned = {f"{stem}.lora_a": a.T.copy(), f"{stem}.lora_b": b.T.copy()}
    save_file(turned, place / "adapters.safetensors")
    stated = {
        "fine_tune_type": "lora",
        "model": "llama",
        "num_layers": 1,
        "lora_parameters": {"rank": 2, "dropout": 0.0, "scale": scale},
        **changes,
    }
    (place / "adapter_config.json").write_text(json.dumps(stated))
    return place


def test_mlx_keeps_both_factors_turned_and_has_its_own_scale(lora: Bundle, tmp_path: Path) -> None:
    a, b = pair()
    made = import_adapter(lora, mlx_folder(tmp_path))
    found = delta_of(lora, made.adapter, 1, "q")
    assert made.source == "MLX-LM"
    np.testing.assert_array_equal(found.a[:2], a)
    np.testing.assert_array_equal(found.b[:, :2], b * np.float32(20))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fine_tune_type": "dora"}, "fine_tune_type 'lora', got 'dora'"),
        ({"fine_tune_type": "full"}, "got 'full'"),
        ({"lora_parameters": {"rank": 2, "scale": 1.0, "alpha": 16}}, "alpha as well"),
        ({"lora_parameters": {"rank": 2}}, "scale"),
        ({"lora_parameters": None}, "expected lora_parameters"),
    ],
)
def test_what_mlx_computes_otherwise_is_refused(
    lora: Bundle, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(AdapterError, match=reason):
        import_adapter(lora, mlx_folder(tmp_path, **changes))


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.model.layers.7.mlp.down_proj.lora_B.weight",
        "base_model.model.model.layers.7.mlp.down_proj.lora_B.default.weight",
        "base_model.model.model.language_model.layers.7.mlp.down_proj.lora_B.weight",
        "model.layers.7.mlp.down_proj.lora_B.weight",
        "model.layers.7.mlp.down_proj.lora_b",
        "language_model.model.layers.7.mlp.down_proj.lora_b",
    ],
)
def test_names_of_all_libraries_mean_the_same_part(key: str) -> None:
    part = parse(key)
    assert part is not None
    assert part.slot == "layers.7.down.b"
    assert part.transposed == key.endswith("lora_b")


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.٣.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.bias",
        "model.layers.0.self_attn.q_proj.m",
        "x" * 10_000,
    ],
)
def test_other_names_are_not_taken_for_ours(key: str) -> None:
    assert parse(key) is None
