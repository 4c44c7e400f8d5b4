"""Tokens a second of llama.cpp through llama-cpp-python, on the GGUF file itself.

settings: `lora` attaches a LoRA of rank 8 on q and v, as users of llama.cpp have; a switch reads it
from its file and attaches it.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

from _contract import Job, answer, memory
from _speed import PROMPT, REPEATS, WARMUP, prompt, timed

CONTEXT = 512


def run(job: Job) -> dict[str, Any]:
    """Greedy decoding of random tokens."""
    from llama_cpp import Llama

    machine, lora = memory(), bool(job.settings.get("lora"))
    began = time.perf_counter()
    model = Llama(
        job.model, n_ctx=CONTEXT, n_batch=PROMPT, n_threads=job.threads,
        n_threads_batch=job.threads, verbose=False,
    )  # fmt: skip
    loaded = time.perf_counter() - began
    switches = _switches(model, Path(job.bundle).with_name("lora.gguf")) if lora else None

    def read(tokens: Any) -> None:
        model.reset()
        model.eval(tokens)

    def generate() -> None:
        model.eval([model.sample(temp=0.0)])

    prompts, answers = timed(read, generate, prompt(model.n_vocab()))
    return {
        "prompt": prompts, "generate": answers, "switch_ms": switches, "load_seconds": loaded,
        "peak_mb": machine.peak_mb(), "bytes": Path(job.model).stat().st_size,
        "notes": "with a LoRA of rank 8 on q and v" if lora else "the base alone",
    }  # fmt: skip


def _switches(model: Any, path: Path) -> list[float]:
    """Milliseconds of each time that an adapter was read and attached; the last one stays."""
    import llama_cpp as low

    took = []
    for _ in range(WARMUP + REPEATS):
        began = time.perf_counter()
        adapter = low.llama_adapter_lora_init(model._model.model, str(path).encode())
        one = (low.llama_adapter_lora_p_ctypes * 1)(adapter)
        if not adapter or low.llama_set_adapters_lora(
            model._ctx.ctx, one, 1, (ctypes.c_float * 1)(1.0)
        ):
            raise SystemExit(f"llama.cpp does not take {path}")
        took.append(1e3 * (time.perf_counter() - began))
    return took[WARMUP:]


if __name__ == "__main__":
    answer(run)
