"""A model for ONNX Runtime GenAI of our weights, by its own builder, without a hub.

    python _genai_build.py GGUF FOLDER [lora]

The builder reads the weights as transformers de-quantizes them, and quantizes them anew: 4 bits in
blocks of 32 without zero points, int8 activations, as our graphs have. A LoRA's numbers it bakes
in, in 4 bits as well. Here they become inputs with defaults, which an `.onnx_adapter` overrides.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

OPTIONS = ("hf_token=false", "int4_block_size=32", "int4_accuracy_level=4")
RANK, ALPHA = 8, 16


def build(gguf: Path, folder: Path, lora: bool) -> None:
    """GGUF → Hugging Face folder → what GenAI runs, in FOLDER/model."""
    weights, model = folder / "weights", folder / "model"
    _save(gguf, weights, folder / "lora" if lora else None)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    where = ["-i", str(weights), "-o", str(model), "-c", str(folder / "cache")]
    adapter = [f"adapter_path={folder / 'lora'}"] if lora else []
    options = ["-p", "int4", "-e", "cpu", "--extra_options", *OPTIONS, *adapter]
    # It imports its parts by bare names, which this checkout has as well.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*command, *where, *options], check=True, stdout=sys.stderr, env=clean)
    if lora:
        _take_out(model, folder / "adapter.onnx_adapter")


def _save(gguf: Path, weights: Path, lora: Path | None) -> None:
    """The de-quantized base, and a random LoRA of rank 8 on q and v."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = copy.deepcopy(loaded.config)
    del config.quantization_config  # of the file; what is saved has none
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict())
    plain.tie_weights()
    plain.save_pretrained(weights)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(weights)
    if lora is not None:
        from peft import LoraConfig, get_peft_model

        wanted = LoraConfig(
            r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"], init_lora_weights=False
        )
        get_peft_model(plain, wanted).save_pretrained(str(lora), save_embedding_layers=False)


def _take_out(model: Path, adapter: Path) -> None:
    """List a graph's LoRA numbers as inputs, and write them as an adapter."""
    import numpy as np
    import onnx
    import onnxruntime

    graph = onnx.load(model / "model.onnx", load_external_data=False)
    values: dict[str, Any] = {}
    for tensor in graph.graph.initializer:
        if ".lora_" in tensor.name:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.graph.input.append(info)
            values[tensor.name] = np.array(onnx.numpy_helper.to_array(tensor, str(model)))
    onnx.save(graph, model / "model.onnx")
    form = onnxruntime.AdapterFormat()
    form.set_adapter_version(1)
    form.set_model_version(1)
    # `values` lives until they are written: an OrtValue holds no copy.
    made = {n: onnxruntime.OrtValue.ortvalue_from_numpy(v) for n, v in values.items()}
    form.set_parameters(made)
    form.export_adapter(str(adapter))


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), "lora" in sys.argv[3:])
