"""The base as a bundle holds it, on the host, with plain float32 weights that gradients pass."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.encoding import Encoder
from dsa_edge.errors import UsageError
from dsa_edge.exporters._reload import reload_model
from dsa_edge.exporters.checkpoint import open_checkpoint, tokenizer_info
from dsa_edge.exporters.decoder import Decoder, Embedding, Linear, build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.quantization import Recipe
from dsa_edge.manifest import BaseInfo, identity_of
from dsa_edge.tokenizer import Tokenizer

__all__ = ["Host", "open_host"]


@dataclass(frozen=True, eq=False)
class Host:
    """A model to learn starts for.

    identity, base: of the bundle that it is, or that an export with the same options makes, and
    the sha256 of the checkpoint.
    """

    model: AdaptedModel
    tokenizer: Tokenizer
    identity: str
    base: str

    @property
    def encoder(self) -> Encoder:
        """What makes token ids of examples."""
        limit = self.model.decoder.spec.max_positions
        return Encoder(self.tokenizer, self.model.adapter.invocation, limit)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.model.decoder.top.norm.gain.device


def open_host(
    path: str | Path, adapter: AdapterSpec | None, quantize: str | None, device: str
) -> Host:
    """A bundle's model, or a checkpoint's as an export would quantize it.

    adapter, quantize: of a checkpoint; None takes the defaults. A bundle has its own.
    Raises UsageError for options that contradict the bundle, and devices that are not
    there; BundleError and CheckpointError.
    """
    where = _device(device)
    if (Path(path) / "manifest.json").is_file():
        if adapter is not None or quantize is not None:
            raise UsageError(
                f"{path} is a bundle, which has its own adapter and bits: leave out the options "
                "that belong to checkpoints."
            )
        host = _of_bundle(Bundle.open(path))
    else:
        host = _of_checkpoint(path, adapter or AdapterSpec(), quantize or "int4")
    if where.type == "cuda":
        from dsa_edge.kernels import torch_cuda  # noqa: F401  registers the operators
    _densify(host.model.decoder)
    host.model.to(where)
    return host


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UsageError(
            f"device {name!r} is not here, expected cpu, or cuda where torch sees a GPU: correct "
            "--device."
        )
    return torch.device(name)


def _of_bundle(bundle: Bundle) -> Host:
    return Host(
        reload_model(bundle), Tokenizer.of(bundle), bundle.identity, bundle.manifest.base.sha256
    )


def _of_checkpoint(path: str | Path, adapter: AdapterSpec, quantize: str) -> Host:
    recipe, source = Recipe(quantize), open_checkpoint(path)
    adapter.check(source.spec.geometry)
    model = AdaptedModel(build_decoder(source, recipe.bits), adapter).eval()
    for layer in range(model.split, source.spec.n_layers):
        model.add_blocks(layer)
    digest = hashlib.sha256(source.tokenizer_json.encode()).hexdigest()
    base = BaseInfo(source.name, source.source, source.sha256, source.licence, quantize, 0)
    identity = identity_of(base, adapter, digest, asdict(source.spec))
    tokenizer = Tokenizer(
        source.tokenizer_json, tokenizer_info(source, digest), source.chat_template
    )
    return Host(model, tokenizer, identity, source.sha256)


def _densify(decoder: Decoder) -> None:
    """De-quantize once: the same weights as deployed, at the speed of plain products."""
    for index in range(decoder.spec.n_layers):
        linears = decoder.layer(index).linears
        for target, linear in linears.items():
            linears[target] = Linear(cast(Linear, linear).dense(), cast(Linear, linear).bias)
    tied = decoder.top.table is decoder.embedding
    decoder.embedding = Embedding(decoder.embedding.dense())
    decoder.top.table = decoder.embedding if tied else Embedding(decoder.top.table.dense())
