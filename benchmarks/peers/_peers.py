"""Who is compared, and with what settings.

Rates of first order on whole sentences are the best of nine on other examples (`methods.py`, row
lora-whole), on short labels the one in between its best and what got there first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LEARNING", "PEERS", "SPEED", "Peer"]

LEARNING = ("short", "long", "multi")
SPEED = "speed"  # the task of those that only infer
RATES = {"short": 3e-4, "long": 1.5e-3, "multi": 1.5e-3}
SECONDS = {"short": 90.0, "long": 240.0, "multi": 120.0}  # of first order's learning, at most
# Forward passes alone, over whole sentences: long where a factor of ten is to be shown.
WALKS = {"short": 240.0, "long": 45.0, "multi": 45.0}
LANES = {"short": 60.0, "long": 45.0, "multi": 45.0}
HALVES = {"short": 60.0, "long": 120.0, "multi": 60.0}  # numbers of 16 bits
# Our steps have no bound on the other tasks: they are over sooner. Lanes over the whole vocabulary
# take longer than gradients, and are given twice their time.
BOUNDED = {"multi": {"bounded": True}}
OURS = {**SECONDS, "multi": 240.0}
FEW = 3  # looks at runs that hardly move
TIMED = 3  # steps of a run that is not judged
DEEP = 6  # layers that ExecuTorch trains: exporting all of them takes many minutes


@dataclass(frozen=True)
class Peer:
    """A way to learn, or to infer.

    name: of its results; title: in tables. script, environment: files without their endings.
    settings: for all tasks; own: for one. seconds: of learning; none for a peer with its own end.
    lacks: what a device does not have for it. same: the peer whose updates it makes as well.
    """

    name: str
    title: str
    script: str
    environment: str
    tasks: tuple[str, ...] = LEARNING
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=lambda: SECONDS)
    steps: int = 1_000_000
    lacks: str = ""
    same: str = ""

    def asked(self, task: str) -> dict[str, Any]:
        """Its settings on a task."""
        return {**self.settings, **self.own.get(task, {})}


def _rates(**more: Any) -> dict[str, dict[str, Any]]:
    return {task: {"rate": rate, **more} for task, rate in RATES.items()}


TORCH = "torch (its wheel is larger than base and app), weights in floats"
PEERS = (
    Peer("ours", "dsa-edge, defaults", "ours", "ours", own=BOUNDED, seconds=OURS, lacks="nothing"),
    Peer(
        "ours-exact", "dsa-edge, `--estimator exact`", "ours", "ours",
        settings={"estimator": "exact", "steps": 60}, own=BOUNDED,
        lacks="a bundle of 191 MB instead of 104",
    ),
    Peer("peft", "LoRA, PEFT on torch", "peft_lora", "torch", own=_rates(), lacks=TORCH),
    Peer(
        "peft-checkpointing", "the same, gradient checkpointing", "peft_lora", "torch",
        own=_rates(checkpointing=True, judged=False), steps=TIMED, lacks=TORCH, same="peft",
    ),
    Peer(
        "peft-bfloat16", "the same, bfloat16", "peft_lora", "torch", own=_rates(dtype="bfloat16"),
        seconds=HALVES,
        lacks=f"{TORCH}, a processor that multiplies in bfloat16",
    ),
    Peer(
        "own-core", "first order in torch on our core, cached prompts", "own_core", "torch",
        settings={"steps": 60}, own=BOUNDED, lacks=TORCH,
    ),
    Peer(
        "mezo", "MeZO", "mezo", "torch", seconds=WALKS,
        settings={"rate": 1e-3, "epsilon": 1e-2, "looks": FEW},
        lacks="time",
    ),
    Peer(
        "replicated-lanes", "lanes replicated from the embedding (P-RGE)", "replicated_lanes",
        "torch", seconds=LANES,
        settings={"rate": 1e-3, "epsilon": 1e-2, "queries": 4, "looks": FEW},
        lacks="time",
    ),
    Peer(
        "executorch", f"ExecuTorch training, {DEEP} of 30 layers", "executorch_training",
        "executorch", tasks=("short",), steps=TIMED,
        settings={"rate": 0.1, "layers": DEEP, "judged": False},
        lacks="optimized kernels for the backward pass, quantized weights, Adam",
    ),
    Peer("ours-speed", "dsa-edge", "speed_ours", "ours", (SPEED,)),
    Peer("llama-cpp", "llama.cpp", "speed_llama_cpp", "llama_cpp", (SPEED,)),
    Peer(
        "llama-cpp-lora", "the same, with a LoRA", "speed_llama_cpp", "llama_cpp", (SPEED,),
        settings={"lora": True},
    ),
    Peer("onnx-genai", "ONNX Runtime GenAI", "speed_onnx_genai", "onnx_genai", (SPEED,)),
    Peer(
        "onnx-genai-lora", "the same, with a LoRA", "speed_onnx_genai", "onnx_genai", (SPEED,),
        settings={"lora": True},
    ),
)  # fmt: skip
