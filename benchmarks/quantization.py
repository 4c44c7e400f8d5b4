"""What each way to 4 bits costs: perplexity and accuracy against float, and size.

SmolLM2-135M-Instruct is stored in 4 bits (Q4_1), so the float model is that, dequantized and
shuffled (`_shuffled.py`); the last rows are the checkpoint as it is stored. All runs in torch with
float32 activations, so that the weights alone differ. Perplexity is of long reviews that were not
calibrated on, and of single sentences by other people; accuracy and agreement with float are of the
demo's prompt without worked examples, before and after the label bias is taken out (each variant's
median log-odds, which is what fitting two biases on balanced sentences comes to).

python benchmarks/quantization.py --json
python benchmarks/quantization.py --only gptq --rows rows.jsonl   # rows that are there stay
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _common import parser
from _shuffled import shuffled
from torch import Tensor

from dsa_edge.demo import LABELS, find_model, long_reviews, review_sentences
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import Decoder, Embedding, Linear, build_decoder
from dsa_edge.exporters.quantization import Recipe, calibration_rows
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.tokenizer import Tokenizer

# name → quantize ("none" is float), weak columns, and whether of the checkpoint as it is stored
VARIANTS: dict[str, tuple[str, int, bool]] = {
    "float": ("none", 0, False),
    "int8": ("int8", 0, False),
    "int4": ("int4", 0, False),
    "gptq": ("gptq", 0, False),
    "int4, 32 weak": ("int4", 32, False),
    "gptq, 32 weak": ("gptq", 32, False),
    "stored, 32 weak": ("int4", 32, True),
}
CALIBRATION, HELD, WORDS = 64, 24, 200  # long reviews, and words of each
LENGTH, SENTENCES = 256, 400  # tokens of a row; sentences to label


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--only", default="", help="variants, by semicolon")
    made.add_argument("--rows", default="", help="JSONL file to append rows to")
    arguments = made.parse_args()
    names = [name.strip() for name in arguments.only.split(";") if name.strip()] or list(VARIANTS)
    rows = list(measured(names, Path(arguments.rows) if arguments.rows else None))
    print(json.dumps({"rows": rows}) if arguments.json else text(rows))


def measured(names: list[str], file: Path | None) -> Iterator[dict[str, Any]]:
    """A row a variant, float first: the others are held against its choices."""
    bench = Bench()
    known = _known(file)
    for name in names:
        if name in known:
            yield known[name]
            continue
        row = bench.row(name)
        if file:
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
        yield row


class Bench:
    """The model, the texts, and what float answers."""

    def __init__(self) -> None:
        self.source = open_checkpoint(find_model())
        self.float = shuffled(self.source)
        info = TokenizerInfo("", self.source.bos_id, self.source.eos_ids, 0, self.source.add_bos)
        self.tokenizer = Tokenizer(self.source.tokenizer_json, info, self.source.chat_template)
        texts = [text for text, _ in long_reviews(CALIBRATION + 4 * HELD, WORDS)]
        self.calibration, held = texts[:CALIBRATION], texts[CALIBRATION:]
        self.long = self._rows(held)[:HELD]
        _, rows = review_sentences(64, SENTENCES)
        self.sentences = self._rows([str(text) for text, _ in rows])[: HELD // 2]
        self.prompts = [self.tokenizer.encode_prompt(LABELS.prompt(str(text))) for text, _ in rows]
        self.labels = torch.tensor([int(str(label)) for _, label in rows])
        self.words = [self.tokenizer.encode(choice)[0] for choice in LABELS.choices]
        self.reference = self._scores(build_decoder(self.float, "none"))

    def row(self, name: str) -> dict[str, Any]:
        """Everything about one variant."""
        quantize, weak, stored = VARIANTS[name]
        source, began, info = self.source if stored else self.float, time.perf_counter(), None
        bits = quantize
        if quantize != "none":
            needed = self.calibration if weak or quantize == "gptq" else None
            recipe = Recipe(quantize, weak, needed)
            bits = recipe.bits
            if needed:
                rows = calibration_rows(needed, self.tokenizer)
                source, info = recipe.quantized(source, rows, lambda _: None)
        decoder = build_decoder(source, bits).eval()
        seconds, size = time.perf_counter() - began, size_of(decoder)
        unpack(decoder)
        scores = self._scores(decoder)
        return {
            "name": name,
            "perplexity_long": perplexity(decoder, self.long),
            "perplexity_sentences": perplexity(decoder, self.sentences),
            **self._choices(scores),
            **size,
            "seconds": seconds,
            "kept": info.kept if info else None,
            "outputs_lost": info.error if info else None,
        }

    def _choices(self, scores: Tensor) -> dict[str, float]:
        """Accuracy and agreement with float of scores (sentences, 2), as they are and unbiased."""
        odds, reference = scores[:, 1] - scores[:, 0], self.reference[:, 1] - self.reference[:, 0]
        fair, fair_reference = odds - odds.median(), reference - reference.median()
        return {
            "accuracy": _share((odds > 0) == (self.labels == 1)),
            "accuracy_unbiased": _share((fair > 0) == (self.labels == 1)),
            "agreement": _share((odds > 0) == (reference > 0)),
            "agreement_unbiased": _share((fair > 0) == (fair_reference > 0)),
            "bias": float(odds.median()),
        }

    def _rows(self, texts: list[str]) -> Tensor:
        ids = [i for text in texts for i in self.tokenizer.encode_prompt(text + "\n\n")]
        return torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)

    @torch.no_grad()
    def _scores(self, decoder: Decoder) -> Tensor:
        """Log-probabilities (sentences, 2) among the label words."""
        scores = [decoder(torch.tensor([p]))[0, 0, -1, self.words] for p in self.prompts]
        return torch.stack(scores).log_softmax(-1)


@torch.no_grad()
def perplexity(decoder: Decoder, rows: Tensor) -> float:
    """exp of the mean nats of every token of rows (n, T) but the first of each."""
    nats = 0.0
    for some in rows.split(4):
        scores = decoder(some)[0, :, :-1].log_softmax(-1)
        nats -= float(scores.gather(-1, some[:, 1:, None]).sum())
    return math.exp(nats / rows[:, 1:].numel())


def _share(true: Tensor) -> float:
    return float(true.double().mean())


def size_of(decoder: Decoder) -> dict[str, float]:
    """Bits of a weight in the layers' linears, all that belongs to it included; MB of the base."""
    linears = [m for m in decoder.modules() if isinstance(m, Linear)]
    stored = sum(b.nbytes for linear in linears for b in linear.buffers())
    weights = sum(linear.dense().numel() for linear in linears)
    distinct = {b.data_ptr(): b.nbytes for b in decoder.buffers() if b.numel()}
    return {"bits": 8 * stored / weights, "megabytes": sum(distinct.values()) / 1e6}


def unpack(decoder: Decoder) -> None:
    """The same weights in float32, so that no product dequantizes them once more."""
    for module in decoder.modules():
        if isinstance(module, (Linear, Embedding)) and module.bits:
            module.register_buffer("weight", module.dense())
            module.bits, module.weak = 0, None


def _known(file: Path | None) -> dict[str, dict[str, Any]]:
    if file is None or not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {row["name"]: row for row in rows}


def text(rows: list[dict[str, Any]]) -> str:
    lines = ["name                ppl long  ppl sent.  accuracy  unbiased  as float  bits   MB"]
    for row in rows:
        lines.append(
            f"{row['name']:<18} {row['perplexity_long']:>9.2f} {row['perplexity_sentences']:>10.2f}"
            f" {row['accuracy']:>9.3f} {row['accuracy_unbiased']:>9.3f}"
            f" {row['agreement_unbiased']:>9.3f}"
            f" {row['bits']:>5.2f} {row['megabytes']:>5.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
