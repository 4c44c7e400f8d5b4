"""What was learned goes to PEFT: the library itself loads it, and computes what our graphs do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign import tensors
from safetensors.numpy import load_file

from dsa_edge.adapter import Adapter, AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.adapters import Route
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.manifest import Manifest
from dsa_edge.runtime.interchange import _deltas, export_adapter, import_adapter
from dsa_edge.weights import read_frozen

LOW_RANK = ("lora", "lora-frozen", "core", "diagonal", "kron", "columns")
Exported = Callable[..., Bundle]
Learned = Callable[[Bundle], Adapter]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning", "ignore:.*:UserWarning:peft.*"
)


def adapted(lora: Bundle, kind: str) -> tuple[Bundle, AdaptedModel]:
    """The base with an adapter of a kind, without graphs."""
    spec = AdapterSpec(kind, rank=4, split=0.34)
    model = AdaptedModel(reload_model(lora).decoder, spec)
    for layer in (1, 2):
        model.add_blocks(layer)
    manifest = Manifest(**{**vars(lora.manifest), "adapter": spec})
    return Bundle(lora.path, manifest), model


@pytest.mark.parametrize("kind", LOW_RANK)
def test_b_a_x_is_what_the_graphs_add(
    lora: Bundle, learned: Learned, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, model = adapted(lora, kind)
    frozen = {name: buffer.numpy() for name, buffer in model.named_buffers()}
    monkeypatch.setattr(_deltas, "read_frozen", lambda _: frozen)
    adapter, at = learned(bundle), 0
    found = _deltas.deltas(bundle, adapter)
    assert len(found) == 14
    for delta in found:
        block: Any = model.layer_blocks(delta.layer).blocks[delta.target]
        numbers = torch.from_numpy(adapter.vector[at : at + block.size])[None]
        at += block.size
        x = torch.randn(1, 2, 3, delta.a.shape[1], generator=torch.Generator().manual_seed(at))
        everywhere = Route.ungated(torch.ones(2, 3, dtype=torch.bool))
        added = block.add(x, torch.zeros(1, 2, 3, len(delta.b)), numbers, everywhere)
        torch.testing.assert_close(x @ torch.from_numpy(delta.dense.T), added, rtol=1e-4, atol=1e-5)
    assert at == len(adapter.vector)


def by_onnx(folder: Path) -> dict[str, np.ndarray]:
    """Every external tensor of a bundle's graphs, as the onnx library reads it."""
    found = {}
    for file in sorted((folder / "onnx").glob("*.onnx")):
        for tensor in onnx.load(file).graph.initializer:
            if tensor.name not in ("first_axis",) and not tensor.name.startswith("index_"):
                found[tensor.name] = onnx.numpy_helper.to_array(tensor)
    return found


@pytest.mark.parametrize("kind", ["lora", "core", "columns"])
def test_weights_are_read_without_onnx(exported: Exported, kind: str) -> None:
    bundle = exported(kind)
    ours, theirs = read_frozen(bundle), by_onnx(bundle.path)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        np.testing.assert_array_equal(ours[name], value)
    assert len(_deltas.deltas(bundle, Adapter(np.zeros(bundle.manifest.adapter_size)))) == 14


@pytest.mark.parametrize("kind", ["scale", "sparse"])
def test_other_kinds_are_refused(lora: Bundle, kind: str, tmp_path: Path) -> None:
    manifest = Manifest(**{**vars(lora.manifest), "adapter": AdapterSpec(kind)})
    adapter = Adapter(np.zeros(manifest.adapter_size, np.float32))
    with pytest.raises(AdapterError, match=f"of kind {kind}, which is no low-rank change"):
        export_adapter(Bundle(lora.path, manifest), adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def base_in_transformers(bundle: Bundle, folder: Path) -> Any:
    """The bundle's own base as a model of transformers."""
    from transformers import AutoModelForCausalLM

    from dsa_edge.runtime.interchange._base import open_base
    from dsa_edge.runtime.interchange._checkpoint import write_checkpoint

    folder.mkdir()
    write_checkpoint(bundle, open_base(bundle), [], folder)
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["lora", "core"])
def test_peft_itself_loads_what_we_write(
    exported: Exported, learned: Learned, kind: str, tmp_path: Path
) -> None:
    from peft import PeftModel

    bundle = exported(kind)
    adapter = learned(bundle)
    written = export_adapter(bundle, adapter, tmp_path / "out")
    assert written.rank == 4
    loaded = PeftModel.from_pretrained(
        base_in_transformers(bundle, tmp_path / "base"), written.folder
    )
    modules = dict(loaded.named_modules())
    layers = {name.split("lora_A")[0] for name in modules if name.endswith("lora_A.default")}
    assert len(layers) == written.linears == 14
    for delta in _deltas.deltas(bundle, adapter):
        (module,) = (
            modules[name.rstrip(".")] for name in layers
            if f"layers.{delta.layer}." in name and f".{delta.target}_proj" in name
        )  # fmt: skip
        theirs = module.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(theirs, delta.dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
def test_what_peft_itself_writes_is_imported(lora: Bundle, tmp_path: Path, rslora: bool) -> None:
    from peft import LoraConfig, get_peft_model

    base = base_in_transformers(lora, tmp_path / "base")
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=rslora, init_lora_weights=False, task_type="CAUSAL_LM",
        target_modules=["q_proj", "down_proj"], layers_to_transform=[1, 2],
        rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 12},
    )  # fmt: skip
    model = get_peft_model(base, config)
    model.save_pretrained(tmp_path / "theirs")
    made = import_adapter(lora, tmp_path / "theirs")
    modules = dict(model.named_modules())
    for delta in _deltas.deltas(lora, made.adapter):
        part = "mlp" if delta.target == "down" else "self_attn"
        name = f"base_model.model.model.layers.{delta.layer}.{part}.{delta.target}_proj"
        if delta.target not in ("q", "down"):
            assert not delta.dense.any()
            continue
        theirs = modules[name].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(delta.dense, theirs, rtol=1e-4, atol=1e-5)


def test_a_folder_that_holds_something_is_left_alone(
    lora: Bundle, learned: Learned, peft_folder: Callable[..., Path]
) -> None:
    folder = peft_folder(tensors())
    with pytest.raises(AdapterError, match="not empty"):
        export_adapter(lora, learned(lora), folder)
    assert len(load_file(folder / "adapter_model.safetensors")) == 2


def test_label_biases_are_told_and_layers_are_named(
    lora: Bundle, learned: Learned, tmp_path: Path
) -> None:
    adapter = Adapter(learned(lora).vector, {" great": 0.5})
    written = export_adapter(lora, adapter, tmp_path / "out")
    assert any("' great' have no place in PEFT" in note for note in written.notes)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["layers_to_transform"] == [1, 2]
    assert config["r"] == config["lora_alpha"] == 4
    assert len(config["target_modules"]) == 7
