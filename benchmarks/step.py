"""One zeroth-order step against one base forward over the same rows and layers, interleaved.

The base forward is the same `choose` graph with its adapter's products cut out, so both sides run
the same rows through the same layers, attention and head; what differs is what lanes cost.

    python benchmarks/step.py --json
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from _common import interleaved, parser

from dsa_edge.cli._demo import demo_bundle
from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.runtime import Hyperparameters, Personalizer
from dsa_edge.runtime._calibration import centred_slopes
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._engine import Context
from dsa_edge.runtime._onnx_engine import run_options, session_options
from dsa_edge.runtime._optimizer import State, Step, lanes, update


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=15)
    arguments = made.parse_args()
    bundle = demo_bundle(Path(arguments.folder))
    me, hyper = Personalizer.open(bundle), Hyperparameters()
    rows, _ = review_sentences(64, 1)
    labels, _ = me.pick_shots(LABELS, rows, tries=1, judges=8)
    examples = [labels.example(*row) for row in rows]
    encoded = Encoder(me._tokenizer, me.bundle.manifest).encode_all(examples)
    objective = me._objective(encoded, None)
    batch = np.arange(hyper.batch)
    state = State(np.zeros(me.bundle.manifest.adapter_size, np.float32))
    base, quietly = base_session(bundle), run_options(onnxruntime)
    context = objective._cache.context(batch)
    candidates = objective._candidates

    def step() -> None:
        copies = lanes(state, 0, hyper)
        scores = objective.choice_scores(batch, copies)
        slopes = centred_slopes(scores, objective.answers[batch], hyper.epsilon, hyper.smoothing)
        update(state, 0, hyper, Step(hyper.rate, slopes))

    def forward() -> None:
        base.run(None, feeds(context, candidates, 2 * hyper.queries, state.theta.size), quietly)

    pairs = interleaved(step, forward, arguments.repeats)
    result = {
        "rows": 2 * hyper.queries * hyper.batch * me.bundle.manifest.adapter.invocation,
        "step_ms": 1e3 * statistics.median(s for s, _ in pairs),
        "base_forward_ms": 1e3 * statistics.median(f for _, f in pairs),
        "ratio": statistics.median(s / f for s, f in pairs),
    }
    print(json.dumps(result) if arguments.json else result)


def base_session(bundle: Path) -> onnxruntime.InferenceSession:
    """`choose` without adapter: every target returns its base product."""
    source = bundle / "onnx" / "choose.onnx"
    model = onnx.load(source, load_external_data=False)
    if not sum(cut_adapters(function) for function in model.functions):
        raise SystemExit("the adapter was not found in the graph: export the bundle again")
    options = session_options(onnxruntime)  # as the engine's own
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(source.parent)
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def cut_adapters(function: onnx.FunctionProto) -> int:
    """Make every target return its base output; returns how many did not."""
    targets = [node for node in function.node if node.op_type == "gated_lowrank"]
    for node in targets:
        base = node.input[1]
        node.op_type, node.domain = "Identity", ""
        del node.input[:]
        node.input.append(base)
    drop_unused(function)
    return len(targets)


def drop_unused(function: onnx.FunctionProto) -> None:
    """Remove nodes that nothing reads."""
    while True:
        read = {i for node in function.node for i in node.input} | set(function.output)
        unused = [node for node in function.node if not read & set(node.output)]
        if not unused:
            return
        for node in unused:
            function.node.remove(node)


def feeds(context: Context, candidates: np.ndarray, count: int, size: int) -> dict[str, np.ndarray]:
    return {
        "hidden": context.hidden,
        "prefix_keys": context.prefix.keys,
        "prefix_values": context.prefix.values,
        "keys": context.keys,
        "values": context.values,
        "lengths": context.lengths,
        "lanes": np.zeros(count, np.float32),
        "adapter": np.zeros((count, size), np.float32),
        "candidates": candidates,
    }


if __name__ == "__main__":
    main()
