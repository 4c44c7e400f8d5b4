"""One compact torch decoder for Llama, Mistral, Qwen 2, 2.5, 3 and Gemma 3, driven by a spec."""

from dsa_edge.exporters.decoder._attention import Segment
from dsa_edge.exporters.decoder._build import (
    QUANTIZATIONS,
    Stored,
    WeightSource,
    build_decoder,
    build_layer,
    build_table,
)
from dsa_edge.exporters.decoder._context import with_context, with_group
from dsa_edge.exporters.decoder._decoder import Decoder, Frame, Frames, Top
from dsa_edge.exporters.decoder._layer import ACTIVATE, Layer, Norm
from dsa_edge.exporters.decoder._linear import Embedding, Linear
from dsa_edge.exporters.decoder._spec import DecoderSpec, RopeSpec
from dsa_edge.exporters.decoder._weight import QuantizedWeight, quantize

__all__ = [
    "ACTIVATE",
    "QUANTIZATIONS",
    "Decoder",
    "DecoderSpec",
    "Embedding",
    "Frame",
    "Frames",
    "Layer",
    "Linear",
    "Norm",
    "QuantizedWeight",
    "RopeSpec",
    "Segment",
    "Stored",
    "Top",
    "WeightSource",
    "build_decoder",
    "build_layer",
    "build_table",
    "quantize",
    "with_context",
    "with_group",
]
