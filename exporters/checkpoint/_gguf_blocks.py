"""GGUF blocks → our weights: 4- and 8-bit blocks of 32 keep their bits, the rest becomes float32.

| type | bytes a block of 32                                    | weight               |
| Q4_0 | scale f16, 16 bytes of nibbles                         | scale · (code − 8)   |
| Q4_1 | scale f16, minimum f16, 16 bytes of nibbles            | scale · code + min   |
| Q8_0 | scale f16, 32 signed bytes                             | scale · code         |

In the nibbles, the low halves are values 0 … 15 of the block and the high halves 16 … 31.
"""

from __future__ import annotations

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from dsa_edge.errors import CheckpointError
from dsa_edge.exporters.checkpoint._gguf_file import GgufFile, GgufTensor
from dsa_edge.exporters.decoder import QuantizedWeight
from dsa_edge.kernels.quantized_linear import GROUP, pack_codes

__all__ = ["read_tensor"]

Q4_0, Q4_1, Q8_0 = (
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
    GGMLQuantizationType.Q8_0,
)


def read_tensor(file: GgufFile, name: str) -> QuantizedWeight | NDArray[np.float32]:
    """One tensor of the file: quantized where the bits can stay, else float32.

    Raises CheckpointError for a type that the `gguf` package cannot dequantize.
    """
    tensor = file.tensors[name]
    raw = file.bytes_of(name)
    if tensor.type in (Q4_0, Q4_1, Q8_0) and len(tensor.shape) == 2:
        blocks = raw.reshape(tensor.shape[0], tensor.shape[1] // GROUP, -1)
        return _keep(blocks, tensor.type)
    return _dequantize(file, tensor, raw)


def _keep(blocks: NDArray[np.uint8], kind: GGMLQuantizationType) -> QuantizedWeight:
    """Blocks (n_out, n_in / 32, bytes) as they are, in our byte order."""
    scales = _halves(blocks, 0)
    if kind == Q8_0:
        # Signed to offset codes, −128 … 127 → 0 … 255: flipping the top bit adds 128.
        return QuantizedWeight(8, blocks[..., 2:] ^ np.uint8(128), scales)
    if kind == Q4_0:
        return QuantizedWeight(4, _nibbles(blocks[..., 2:]), scales)
    return QuantizedWeight(4, _nibbles(blocks[..., 4:]), scales, _halves(blocks, 2))


def _halves(blocks: NDArray[np.uint8], start: int) -> NDArray[np.float16]:
    return np.ascontiguousarray(blocks[..., start : start + 2]).view("<f2")[..., 0]


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = np.concatenate([packed & 15, packed >> 4], axis=-1)
    return pack_codes(codes.reshape(codes.shape[0], -1), 4)


def _dequantize(file: GgufFile, tensor: GgufTensor, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:  # in rows, because gguf works through them a few at a time
        values = quants.dequantize(raw.reshape(tensor.shape[0], -1), tensor.type)
    except NotImplementedError as error:
        raise CheckpointError(
            f"{file.path.name}: tensor {tensor.name!r} has the type {tensor.type.name}, which "
            "cannot be dequantized: convert the model to Q4_1, Q4_0, Q8_0 or F16."
        ) from error
    return np.array(values, np.float32).reshape(tensor.shape)  # a copy, not a view of the file
