"""The first-order side: LoRA r 8 on q and v with PEFT, Adam, torch float32, in its own process.

Reads a job as JSON on stdin, prints one JSON object: seconds and peak memory of each snapshot, and
held-out accuracies. Evaluation is not counted in the time.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from dsa_edge.demo import LABELS, find_model, review_sentences
from dsa_edge.examples import Labels
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.runtime._memory import peak_mb, release_freed, reset_peak
from dsa_edge.tokenizer import Tokenizer

BATCH = 16


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, encode, candidates = load(job["checkpointing"])
    labels = Labels(job["template"] or LABELS.template, LABELS.names)
    train, test = review_sentences(job["train"], job["test"], job["seed"])
    examples, held_out = (encoded(labels, encode, rows) for rows in (train, test))
    release_freed()
    reset_peak()  # what de-quantizing took is not part of learning
    snapshots = list(learn(model, examples, candidates, job))
    memory = peak_mb()
    for snapshot in snapshots:
        model.load_state_dict(snapshot.pop("weights"), strict=False)
        snapshot["accuracy"] = accuracy(model, held_out, candidates)
        if snapshot["accuracy"] >= job["target"]:
            break
    print(json.dumps({"peak_mb": memory, "curve": [s for s in snapshots if "accuracy" in s]}))


def encoded(labels: Labels, encode: Any, rows: Any) -> list[Any]:
    """(token ids, index of the right label) of each row."""
    made = [labels.example(*row) for row in rows]
    return [(encode(e.prompt), e.choices.index(e.response)) for e in made]


def load(checkpointing: bool) -> tuple[Any, Any, torch.Tensor]:
    """The same weights, de-quantized to float32 by transformers, and the same tokens as ours."""
    path = find_model()
    base = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    source = open_checkpoint(path)
    info = TokenizerInfo("", source.bos_id, source.eos_ids, source.pad_id or 0, source.add_bos)
    tokenizer = Tokenizer(source.tokenizer_json, info)
    tokens = [tokenizer.encode(f" {name}")[0] for name in LABELS.names]
    return get_peft_model(base, config), tokenizer.encode_prompt, torch.tensor(tokens)


def learn(model: Any, examples: list[Any], candidates: torch.Tensor, job: dict[str, Any]) -> Any:
    """Adam steps on shuffled batches; yields time and LoRA weights every `every` steps."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=job["rate"])
    order, shuffled, spent = random.Random(job["seed"]), [], 0.0
    model.train()
    for step in range(1, job["steps"] + 1):
        began = time.perf_counter()
        if len(shuffled) < BATCH:
            shuffled = order.sample(examples, len(examples))
        batch, shuffled = shuffled[:BATCH], shuffled[BATCH:]
        wanted = torch.tensor([label for _, label in batch])
        loss = functional.cross_entropy(scores(model, batch, candidates), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent += time.perf_counter() - began
        if step % job["every"] == 0:
            weights = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}
            yield {"step": step, "seconds": spent, "weights": weights}


def scores(model: Any, batch: list[Any], candidates: torch.Tensor) -> torch.Tensor:
    """Logits of the label words after each prompt; sentences are padded on the left."""
    length = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (ids, _) in enumerate(batch):
        tokens[row, length - len(ids) :] = torch.tensor(ids)
        mask[row, length - len(ids) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1)
    return out.logits[:, -1, candidates]


@torch.no_grad()
def accuracy(model: Any, examples: list[Any], candidates: torch.Tensor) -> float:
    model.eval()
    by_length = sorted(examples, key=lambda example: len(example[0]))
    right = 0
    for start in range(0, len(by_length), 64):
        batch = by_length[start : start + 64]
        guesses = scores(model, batch, candidates).argmax(-1).tolist()
        right += sum(g == label for g, (_, label) in zip(guesses, batch, strict=True))
    return right / len(examples)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
