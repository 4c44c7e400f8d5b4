"""Tokens a second of ONNX Runtime GenAI, on a model that its own builder made of our weights.

The builder reads the weights as transformers de-quantizes them, and quantizes them anew: 4 bits in
blocks of 32 without zero points, int8 activations, as our graphs have; the embedding too.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _contract import Job, answer, memory
from _speed import NEW, PROMPT, prompt, timed

OPTIONS = ("hf_token=false", "int4_block_size=32", "int4_accuracy_level=4")


def build(gguf: Path, folder: Path) -> None:
    """GGUF → Hugging Face folder → what GenAI runs, without a hub."""
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
    weights = folder / "weights"
    plain.save_pretrained(weights)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(weights)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    where = ["-i", str(weights), "-o", str(folder / "model"), "-c", str(folder / "cache")]
    options = ["-p", "int4", "-e", "cpu", "--extra_options", *OPTIONS]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # It imports its parts by bare names, which this checkout has as well.
    subprocess.run([*command, *where, *options], check=True, stdout=sys.stderr, env=clean)


def run(job: Job) -> dict[str, Any]:
    """Greedy decoding of random tokens; the model is built the first time, in another process."""
    folder = Path(job.bundle).parent / "onnx-genai"
    if not (folder / "model" / "genai_config.json").is_file():
        command = [sys.executable, __file__, job.model, str(folder)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    import onnxruntime_genai as genai

    began, machine, made = time.perf_counter(), memory(), folder / "model"
    config = genai.Config(str(made))
    config.overlay(f'{{"model": {{"decoder": {{"session_options": {threads_of(job)}}}}}}}')
    model = genai.Model(config)
    loaded = time.perf_counter() - began
    generators: list[Any] = []

    def read(tokens: Any) -> None:
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=PROMPT + NEW + 1, do_sample=False)
        generators[:] = [genai.Generator(model, parameters)]
        generators[0].append_tokens(list(tokens))

    def generate() -> None:
        generators[0].generate_next_token()

    prompts, answers = timed(read, generate, prompt(30_000))
    return {
        "prompt": prompts, "generate": answers, "switch_ms": None, "load_seconds": loaded,
        "peak_mb": machine.peak_mb(),
        "bytes": sum(file.stat().st_size for file in made.iterdir()),
        "notes": "the base alone, quantized anew by its builder",
    }  # fmt: skip


def threads_of(job: Job) -> str:
    """Session options as JSON."""
    return f'{{"intra_op_num_threads": {job.threads}}}'


if __name__ == "__main__":
    if len(sys.argv) > 1:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        answer(run)
