"""Tokens a second of llama.cpp through llama-cpp-python, on the GGUF file itself.

settings: `lora`, a GGUF file of an adapter, none for the base alone. Attaching it is the switch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from _contract import Job, answer, memory
from _speed import PROMPT, prompt, timed

CONTEXT = 512


def run(job: Job) -> dict[str, Any]:
    """Greedy decoding of random tokens."""
    from llama_cpp import Llama

    lora, machine = job.settings.get("lora"), memory()
    began = time.perf_counter()
    model = Llama(
        job.model, n_ctx=CONTEXT, n_batch=PROMPT, n_threads=job.threads,
        n_threads_batch=job.threads, lora_path=lora, verbose=False,
    )  # fmt: skip
    loaded = time.perf_counter() - began

    def read(tokens: Any) -> None:
        model.reset()
        model.eval(tokens)

    def generate() -> None:
        model.eval([model.sample(temp=0.0)])

    prompts, answers = timed(read, generate, prompt(model.n_vocab()))
    return {
        "prompt": prompts, "generate": answers, "switch_ms": None, "load_seconds": loaded,
        "peak_mb": machine.peak_mb(), "bytes": Path(job.model).stat().st_size,
        "notes": "with a LoRA of rank 8 on q and v" if lora else "the base alone",
    }  # fmt: skip


if __name__ == "__main__":
    answer(run)
