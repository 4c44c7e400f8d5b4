"""The loaded base that a benchmark's fits share: the device's own engine, or torch."""

from __future__ import annotations

from pathlib import Path

from dsa_edge.bundle import Bundle
from dsa_edge.runtime import SharedBase

__all__ = ["ENGINES", "opened"]

ENGINES = ("onnx", "cpu", "cuda")  # the last two are torch's, with inputs rounded as onnx does


def opened(bundle: Path, engine: str, threads: int | None = None) -> SharedBase:
    """A bundle on an engine; threads: of onnx, None takes all cores."""
    if engine == "onnx":
        return SharedBase.open(bundle, threads=threads, check_hashes=False)
    from _torch_engine import TorchEngine, adapted, dense_decoder

    whole = Bundle.open(bundle, check_hashes=False)
    decoder = dense_decoder(whole, "group").to(engine)
    return SharedBase(TorchEngine(*adapted(whole, whole.manifest.adapter, decoder)))
