"""Tokens a second of ONNX Runtime GenAI, on a model that its own builder made of our weights.

settings: `lora` has an adapter of rank 8 on q and v, read from its file for a new generator; the
builder has no file of adapters, so `_genai_build.py` takes the numbers out of its graph.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _contract import FOLDER, Job, answer, memory
from _speed import NEW, PROMPT, REPEATS, WARMUP, prompt, timed

VOCABULARY = 30_000  # from which the prompt is drawn


def run(job: Job) -> dict[str, Any]:
    """Greedy decoding of random tokens; the model is built the first time, in another process."""
    lora = bool(job.settings.get("lora"))
    folder = Path(job.bundle).with_name("onnx-genai-lora" if lora else "onnx-genai")
    if not (folder / "model" / "genai_config.json").is_file():
        words = [str(FOLDER / "_genai_build.py"), job.model, str(folder), *["lora"] * lora]
        subprocess.run([sys.executable, *words], check=True, stdout=sys.stderr)
    machine, engine = memory(), Engine(folder / "model", job.threads)
    switches = engine.switches(folder / "adapter.onnx_adapter") if lora else None
    prompts, answers = timed(engine.read, engine.generate, prompt(VOCABULARY))
    files = (folder / "model").iterdir()
    return {
        "prompt": prompts, "generate": answers, "switch_ms": switches,
        "load_seconds": engine.load_seconds, "peak_mb": machine.peak_mb(),
        "bytes": sum(file.stat().st_size for file in files),
        "notes": "quantized anew by its builder; "
        + ("with a LoRA of rank 8 on q and v, in 4 bits" if lora else "the base alone"),
    }  # fmt: skip


class Engine:
    """A loaded model, and a generator for each prompt."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        began = time.perf_counter()
        options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
        config = genai.Config(str(model))
        config.overlay(json.dumps(options))
        self._genai, self._model = genai, genai.Model(config)
        self._adapters = genai.Adapters(self._model)
        self._active = ""
        self._generator: Any = None
        self.load_seconds = time.perf_counter() - began

    def switches(self, path: Path) -> list[float]:
        """Milliseconds until a generator has another adapter, each time; the last one stays."""
        took = []
        for number in range(WARMUP + REPEATS):
            began = time.perf_counter()
            self._active = f"user {number}"
            self._adapters.load(str(path), self._active)
            self._renew()
            took.append(1e3 * (time.perf_counter() - began))
        return took[WARMUP:]

    def read(self, tokens: Any) -> None:
        """Begin anew with a prompt."""
        self._renew()
        self._generator.append_tokens(list(tokens))

    def generate(self) -> None:
        """One more token."""
        self._generator.generate_next_token()

    def _renew(self) -> None:
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=PROMPT + NEW + 1, do_sample=False)
        self._generator = self._genai.Generator(self._model, parameters)
        if self._active:
            self._generator.set_active_adapter(self._adapters, self._active)


if __name__ == "__main__":
    answer(run)
