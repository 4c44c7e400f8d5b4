"""The gated sparse kernel against standard operators in ONNX Runtime, and against BLAS.

Standard operators multiply with all blocks, chosen or not; the kernel with those that are chosen.
Each pair is interleaved, on one thread; medians of ratios.

    python benchmarks/kernel.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from typing import Any

import numpy as np
import onnxruntime
import torch
from _common import interleaved
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dsa_edge.kernels import native_ops
from dsa_edge.kernels.library import instruction_set
from dsa_edge.kernels.onnx_function import gated_lowrank_function
from dsa_edge.runtime._onnx_engine import session_options

Inputs = dict[str, NDArray[Any]]
LANES, BATCH, LENGTH, RANK = 32, 16, 1, 16  # the defaults of `fit`
TARGETS = {"q": (576, 576), "gate": (576, 1536), "down": (1536, 576)}  # of SmolLM2-135M


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--repeats", type=int, default=40)
    arguments = made.parse_args()
    torch.set_num_threads(1)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "instruction_set": instruction_set(),
        "rows": LANES * BATCH * LENGTH,
        "targets": {name: measure(*shape, arguments.repeats) for name, shape in TARGETS.items()},
    }
    print(json.dumps(result) if arguments.json else text(result))


def measure(n_in: int, n_out: int, repeats: int) -> dict[str, float]:
    """Ratios of standard operators to the kernel, and of its rate to that of BLAS."""
    gated, single = inputs(n_in, n_out, 8, 2), inputs(n_in, n_out, 1, 1)
    token = {**inputs(n_in, n_out, 1, 1, lanes=1, batch=1)}
    rows = LANES * BATCH * LENGTH
    flops = 2 * rows * RANK * (n_in + RANK + n_out)
    kernel, blas = rate_pair(single, repeats)
    square = square_seconds(flops, repeats)
    return {
        "two_of_eight_speedup": speedup(gated, repeats),
        "one_of_one_speedup": speedup(single, repeats),
        "one_token_speedup": speedup(token, repeats),
        "gflops": flops / kernel / 1e9,
        "share_of_blas_same_products": blas / kernel,
        "share_of_blas_square_product": square / kernel,
    }


def inputs(
    n_in: int, n_out: int, blocks: int, chosen: int, lanes: int = LANES, batch: int = BATCH
) -> Inputs:
    """Random values of the shapes that one target has in a probe."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    routes = np.stack([random.permutation(blocks)[:chosen] for _ in range(batch)])
    return {
        "x": normal(lanes, batch, LENGTH, n_in),
        "base": normal(lanes, batch, LENGTH, n_out),
        "core": normal(lanes, blocks, RANK, RANK),
        "route_index": routes,
        "route_weight": np.full((batch, chosen), 1 / chosen, dtype=np.float32),
        "u": normal(blocks, RANK, n_out).astype(np.float16),
        "v": normal(blocks, n_in, RANK).astype(np.float16),
        "active": np.ones((batch, LENGTH), dtype=np.bool_),
    }


def speedup(given: Inputs, repeats: int) -> float:
    """Time of standard operators over time of the kernel, in the same engine."""
    standard, kernel = session(given, False), session(given, True)
    changing = {k: v for k, v in given.items() if k not in ("u", "v")}
    pairs = interleaved(
        lambda: standard.run(None, changing), lambda: kernel.run(None, changing), repeats
    )
    return statistics.median(a / b for a, b in pairs)


def session(given: Inputs, kernels: bool) -> onnxruntime.InferenceSession:
    """A model of the one op; factors are constants, as in a bundle."""
    values = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
        for k, a in given.items()
        if k not in ("u", "v")
    ]
    constants = [
        helper.make_tensor(k, TensorProto.FLOAT16, given[k].shape, given[k].tobytes(), raw=True)
        for k in ("u", "v")
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    node = helper.make_node("gated_lowrank", list(given), ["y"], domain="dsa")
    model = helper.make_model(
        helper.make_graph([node], "one", values, [y], constants),
        functions=[gated_lowrank_function("core")],
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("dsa", 1)],
        ir_version=10,
    )
    options = session_options(onnxruntime, threads=1, kernels=kernels)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def rate_pair(given: Inputs, repeats: int) -> tuple[float, float]:
    """Seconds of the kernel, and of its three products one after the other in a tuned BLAS."""
    x, core = torch.from_numpy(given["x"]), torch.from_numpy(given["core"])[:, 0]
    u, v = (torch.from_numpy(given[k][0].astype(np.float32)) for k in ("u", "v"))
    rows = x.reshape(LANES, BATCH * LENGTH, -1)
    across = core.transpose(1, 2).contiguous()

    def blas() -> torch.Tensor:
        return torch.bmm(rows @ v, across) @ u

    pairs = interleaved(lambda: native_ops.gated_lowrank(**given), blas, repeats)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def square_seconds(flops: int, repeats: int) -> float:
    """Seconds of one square product of as many multiply-adds, where BLAS is at its best."""
    side = round((flops / 2) ** (1 / 3))
    a = torch.rand(side, side)
    return statistics.median(s for s, _ in interleaved(lambda: a @ a, lambda: None, repeats))


def text(result: dict[str, Any]) -> str:
    lines = [f"{result['machine']}, {result['instruction_set']}, {result['rows']} rows, 1 thread"]
    for target, values in result["targets"].items():
        lines.append(f"{target}: " + ", ".join(f"{k} {v:.2f}" for k, v in values.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
