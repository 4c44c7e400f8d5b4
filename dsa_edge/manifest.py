"""`manifest.json`: everything a device must know about a bundle before it loads a model.

Readers cap the size before parsing, refuse unknown schema versions, and check every field that
they later rely on. A bundle's *identity* is a hash over its weights, its tokenizer and its adapter
layout: adapters are bound to it, and exporting the same model twice gives the same identity.
A checksum over all of it tells damage; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dsa_edge.adapter import AdapterSpec, Slot, make_slots
from dsa_edge.chat import ChatParts
from dsa_edge.defaults import Defaults, read_defaults
from dsa_edge.errors import BundleError, UsageError
from dsa_edge.kinds import Geometry
from dsa_edge.programs import ExecutorchInfo, ProgramInfo, TableInfo, inside, read_programs
from dsa_edge.pruned import Pruned
from dsa_edge.quantization import QuantizationInfo, read_quantization

__all__ = [
    "SCHEMA",
    "BaseInfo",
    "ExecutorchInfo",
    "FileEntry",
    "Golden",
    "Manifest",
    "ProgramInfo",
    "StartInfo",
    "TableInfo",
    "TensorInfo",
    "TokenizerInfo",
    "checksum_of",
    "identity_of",
]

SCHEMA = 2
MAX_BYTES = 16 * 2**20  # of manifest.json
# What reading JSON that we did not write so can raise.
_NOT_OURS = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
OPTIONAL = ("chat", "defaults", "pruned", "quantized", "start")  # which only some bundles have
# What the runtime computes sizes from.
_GEOMETRY = (
    "n_layers", "width", "n_heads", "n_kv_heads", "head_dim", "ffn_width", "vocab_size",
    "max_positions",
)  # fmt: skip


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle: its sha256 in hex and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a method; named axes are dynamic."""

    name: str
    dtype: str  # "float32" | "float16" | "int64"
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class BaseInfo:
    """The frozen model: where it came from and how it is stored."""

    name: str
    source: str  # "gguf" | "huggingface"
    sha256: str
    licence: str | None
    quantization: str  # "int4" | "int8" | "gptq"
    accuracy_level: int  # 4: activations in int8, 0: in float32


@dataclass(frozen=True)
class TokenizerInfo:
    """Special tokens; the tokenizer itself is `tokenizer.json`."""

    sha256: str
    bos_id: int | None
    eos_ids: tuple[int, ...]
    pad_id: int
    add_bos: bool


@dataclass(frozen=True)
class Golden:
    """A prompt and the tokens that the bundle generates for it, greedily, without adapter."""

    prompt: str
    prompt_ids: tuple[int, ...]
    expected_ids: tuple[int, ...]


@dataclass(frozen=True)
class StartInfo:
    """A learned start: its id, 64 hex digits, its directions and the users it was learned from."""

    id: str
    directions: int
    users: int

    @classmethod
    def read(cls, entry: Any) -> StartInfo | None:
        """From a manifest; raises ValueError or TypeError for what is none."""
        if entry is None:
            return None
        made = cls(**entry)
        counts = made.directions, made.users
        if not isinstance(made.id, str) or any(type(n) is not int or n < 0 for n in counts):
            raise ValueError(f"a start is {entry!r}")
        return made


@dataclass(frozen=True)
class Manifest:
    """The whole of `manifest.json`.

    decoder: the geometry of the model, as `exporters.decoder.DecoderSpec` has it.
    methods: method → its file, inputs and outputs.
    files: path inside the bundle → hash and size, for every file but the manifest.
    defaults: what `dsa-edge tune` found, by the sort of examples; the identity is without it.
    pruned: what was left out of the base, None of a whole one.
    quantized: how calibration texts decided the bits, if they did.
    start: what the initial adapter was learned from, None where it leaves the base as it is.
    chat: the chat template in parts, None where there is none or it does not come apart.
    """

    base: BaseInfo
    decoder: dict[str, Any]
    adapter: AdapterSpec
    tokenizer: TokenizerInfo
    methods: dict[str, tuple[str, tuple[TensorInfo, ...], tuple[TensorInfo, ...]]]
    files: dict[str, FileEntry]
    golden: Golden
    producers: dict[str, str] = field(default_factory=dict)
    executorch: ExecutorchInfo | None = None
    defaults: dict[str, Defaults] = field(default_factory=dict)
    pruned: Pruned | None = None
    quantized: QuantizationInfo | None = None
    start: StartInfo | None = None
    chat: ChatParts | None = None

    @property
    def n_layers(self) -> int:
        """Depth of the base."""
        return int(self.decoder["n_layers"])

    @property
    def split_layer(self) -> int:
        """First adapted layer."""
        return self.adapter.split_layer(self.n_layers)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The adapter's layout in canonical order."""
        return make_slots(self.adapter, Geometry.of(self.decoder))

    @property
    def adapter_size(self) -> int:
        """Numbers in the adapter, n."""
        return sum(slot.size for slot in self.slots)

    @property
    def gate_shape(self) -> tuple[int, int] | None:
        """Blocks and width (N, D) of a gate; None where there is one block."""
        blocks = self.adapter.blocks
        return (blocks, int(self.decoder["width"])) if blocks > 1 else None

    @property
    def gate_size(self) -> int:
        """Numbers in a gate; 0 where there is none."""
        shape = self.gate_shape
        return shape[0] * (shape[1] + 1) if shape else 0

    @property
    def identity(self) -> str:
        """What adapters are bound to, as 64 hex digits."""
        return identity_of(
            self.base, self.adapter, self.tokenizer.sha256, self.decoder, self.pruned,
            self.quantized,
        )  # fmt: skip

    def to_json(self) -> str:
        """The text of `manifest.json`; what only some bundles have, the others leave out."""
        content = {"schema": SCHEMA, "identity": self.identity, **asdict(self)}
        content["adapter"] = self.adapter.to_dict()
        for name in [n for n in OPTIONAL if not content[n]]:
            del content[name]
        content["slots"] = [[s.name, s.offset, list(s.shape)] for s in self.slots]
        content["checksum"] = checksum_of(content)
        return json.dumps(content, indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a manifest.

        Raises BundleError, naming what is wrong and what to do.
        """
        content = _load(path)
        if content.get("schema") != SCHEMA:
            raise BundleError(
                f"{path} has schema version {content.get('schema')!r}, this dsa-edge reads "
                f"version {SCHEMA}: export the bundle again or install the matching dsa-edge."
            )
        try:
            told, found = content.get("checksum"), checksum_of(content)
            manifest = _parse(content) if told == found else None
        except (*_NOT_OURS, UsageError) as error:
            raise BundleError(
                f"{path} is not a valid manifest ({type(error).__name__}: {error}): "
                "copy the bundle again or export it anew."
            ) from error
        if manifest is None or content.get("identity") != manifest.identity:
            what = "identity" if manifest else "checksum, or has none"
            raise BundleError(
                f"{path} does not match its own {what}, so it was edited or damaged: "
                "copy the bundle again or export it anew."
            )
        return manifest


def identity_of(
    base: BaseInfo, adapter: AdapterSpec, tokenizer: str, decoder: Mapping[str, Any],
    pruned: Pruned | None = None, quantized: QuantizationInfo | None = None,
) -> str:  # fmt: skip
    """A bundle's identity, 64 hex digits, from what it is made of.

    tokenizer: sha256 of its file. decoder: the geometry, as a manifest has it. A learned start is
    no part of it: what users learned from another start stays theirs.
    """
    calibrated = [quantized.key] if quantized else []
    weights = [base.sha256, base.quantization, *calibrated]
    what: list[Any] = [weights, adapter.to_dict(), tokenizer, int(decoder["n_layers"])]
    what += [asdict(pruned)] if pruned else []
    if decoder.get("interpolated_from") is not None:
        what.append(decoder["max_positions"])  # another model, where positions are closer
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def checksum_of(content: Mapping[str, Any]) -> str:
    """Of a manifest as JSON, in 32 hex digits: BLAKE2b over all but the checksum itself."""
    told = {name: value for name, value in content.items() if name != "checksum"}
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(
            f"{path.parent} is not a bundle (no {path.name} in it): "
            "give the folder that `dsa-edge export` wrote."
        )
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"{path} is larger than {MAX_BYTES} bytes, so it is no manifest of ours.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also not UTF-8, numbers of 5,000 digits
        raise BundleError(f"{path} is not JSON ({error}): copy the bundle again.") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds no JSON object: copy the bundle again.")
    return content


def _parse(content: dict[str, Any]) -> Manifest:
    adapter = {**content["adapter"], "targets": tuple(content["adapter"]["targets"])}
    tokenizer = {**content["tokenizer"], "eos_ids": tuple(content["tokenizer"]["eos_ids"])}
    golden = content["golden"]
    decoder = content["decoder"]
    for name in _GEOMETRY:
        most = 10_000 if name == "n_layers" else 2**31
        if type(decoder[name]) is not int or not 0 < decoder[name] < most:
            raise ValueError(f"{name} is {decoder[name]!r}")
    if not isinstance(decoder["family"], str):
        raise ValueError(f"family is {decoder['family']!r}")
    return Manifest(
        base=BaseInfo(**content["base"]),
        decoder=decoder,
        adapter=_adapter(adapter, decoder),
        tokenizer=TokenizerInfo(**tokenizer),
        methods={name: _method(entry) for name, entry in content["methods"].items()},
        files={inside(k): _entry(v) for k, v in content["files"].items()},
        golden=Golden(golden["prompt"], tuple(golden["prompt_ids"]), tuple(golden["expected_ids"])),
        producers=dict(content["producers"]),
        executorch=read_programs(content["executorch"], int(decoder["n_layers"])),
        defaults=read_defaults(content.get("defaults", {})),
        pruned=Pruned.read(content.get("pruned"), decoder),
        quantized=read_quantization(content.get("quantized"), Geometry.of(decoder)),
        start=StartInfo.read(content.get("start")),
        chat=ChatParts.read(content.get("chat")),
    )


def _adapter(entry: dict[str, Any], decoder: dict[str, Any]) -> AdapterSpec:
    spec = AdapterSpec(**entry)
    spec.check(Geometry.of(decoder))
    return spec


def _entry(entry: Any) -> FileEntry:
    made = FileEntry(**entry)
    if not isinstance(made.sha256, str) or type(made.bytes) is not int:
        raise ValueError(f"a file entry is {entry!r}")
    return made


def _method(entry: Any) -> tuple[str, tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    file, inputs, outputs = entry
    return inside(file), _tensors(inputs), _tensors(outputs)


def _tensors(entries: Any) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(e["name"], e["dtype"], tuple(e["shape"])) for e in entries)
