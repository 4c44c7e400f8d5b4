"""Which bits a base gets: the choices of an export, checked against each other and the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import UsageError
from dsa_edge.exporters.checkpoint import Checkpoint
from dsa_edge.exporters.decoder import DecoderSpec, WeightSource
from dsa_edge.exporters.quantization._calibrated import Linears, calibrated, with_columns
from dsa_edge.exporters.quantization._order import Reordered
from dsa_edge.exporters.quantization._texts import calibration_rows, digest_of
from dsa_edge.exporters.quantization._weak import weak_orders
from dsa_edge.kernels.quantized_linear import GROUP
from dsa_edge.kinds import TARGETS
from dsa_edge.manifest import TokenizerInfo
from dsa_edge.quantization import QuantizationInfo
from dsa_edge.tokenizer import Tokenizer

__all__ = ["METHODS", "Recipe"]

METHODS = ("int4", "int8", "gptq")

Texts = str | Path | Sequence[str]


@dataclass(frozen=True)
class Recipe:
    """`Recipe("int4")`, `Recipe("gptq", calibration="texts.jsonl", weak_columns=64)`.

    quantize: `int4` or `int8` round to the nearest, `gptq` to 4 bits by what the outputs lose.
    weak_columns: of q, k, v, gate, up and down, how many inputs stay in float16.
    calibration: JSONL file, or the texts; needed by gptq and by weak columns, which it chooses.
    """

    quantize: str = "int4"
    weak_columns: int = 0
    calibration: Texts | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        k = self.weak_columns
        if self.quantize not in METHODS:
            raise UsageError(
                f"quantize is {self.quantize!r}, expected one of {', '.join(METHODS)}: correct "
                "--quantize."
            )
        if k < 0 or k % GROUP:
            raise UsageError(
                f"weak_columns is {k}, expected a multiple of {GROUP}, which is a group of the "
                f"quantizer: give --weak-columns {max(round(k / GROUP), 1) * GROUP}."
            )
        if k and self.quantize == "int8":
            raise UsageError(
                f"weak_columns is {k} with quantize int8, expected int4 or gptq: 8 bits lose "
                "nothing worth 16; leave --weak-columns out."
            )
        self._check_calibration()

    def _check_calibration(self) -> None:
        needs = "gptq" if self.quantize == "gptq" else "weak columns" if self.weak_columns else ""
        if needs and self.calibration is None:
            raise UsageError(
                f"{needs} without calibration texts, expected some to measure on: give "
                "--calibrate TEXTS.jsonl, a few hundred lines like what the model will be used on."
            )
        if self.calibration is not None and not needs:
            raise UsageError(
                f"calibration texts were given to {self.quantize} without weak columns, which "
                "measures nothing: add --quantize gptq or --weak-columns 32, or leave --calibrate "
                "out."
            )

    def check(self, spec: DecoderSpec, adapter: AdapterSpec) -> None:
        """Refuse what this model is too narrow for, and more trained columns than are weak."""
        least = min(spec.width, spec.ffn_width)
        if self.weak_columns >= least:
            raise UsageError(
                f"weak_columns is {self.weak_columns}, expected less than the {least} inputs of "
                f"this model's narrowest linear: give --weak-columns {GROUP}."
            )
        if self.weak_columns and adapter.kind == "columns" and adapter.rank > self.weak_columns:
            raise UsageError(
                f"rank is {adapter.rank} for columns, which trains weak columns, and weak_columns "
                f"is {self.weak_columns}: lower --rank or raise --weak-columns."
            )

    @property
    def bits(self) -> str:
        """How `build_decoder` rounds what the recipe leaves in float."""
        return "int8" if self.quantize == "int8" else "int4"

    def apply(
        self, source: Checkpoint, base: WeightSource, on_part: Callable[[str], object]
    ) -> tuple[WeightSource, QuantizationInfo | None]:
        """The weights to build from, and what the manifest says of them.

        source: has the tokenizer. base: the weights, the same or what pruning left of them.
        on_part: called with the name of each part before it is worked on.
        Raises UsageError or ExampleError for texts that cannot be used.
        """
        if self.calibration is None:
            return base, None
        rows = calibration_rows(self.calibration, _tokenizer(source))
        return self.quantized(base, rows, on_part)

    def quantized(
        self, source: WeightSource, rows: Tensor, on_part: Callable[[str], object]
    ) -> tuple[WeightSource, QuantizationInfo]:
        """The same for token ids (rows, T), of any source of weights."""
        weak = self.weak_columns
        if weak:
            source = Reordered(source, weak_orders(source, rows, weak, on_part))
        if self.quantize == "gptq":
            linears = calibrated(source, rows, weak, on_part)
        else:
            linears = with_columns(source, weak)
        return linears, self._info(linears, digest_of(rows), rows.numel())

    def _info(self, linears: Linears, digest: str, tokens: int) -> QuantizationInfo:
        rounding = "gptq" if self.quantize == "gptq" else "nearest"
        total = linears.spec.n_layers * len(TARGETS)
        return QuantizationInfo(
            rounding, self.weak_columns, digest, tokens, linears.kept, total, *linears.errors
        )


def _tokenizer(source: Checkpoint) -> Tokenizer:
    info = TokenizerInfo("", source.bos_id, source.eos_ids, source.pad_id or 0, source.add_bos)
    return Tokenizer(source.tokenizer_json, info, source.chat_template)
