"""Early pruning at 10, 25 and 40 %: size, speed, accuracy before and after learning, and controls.

    python benchmarks/pruning.py --json
    python benchmarks/pruning.py --report docs/results/pruning    # table and plot of what is there

The masks are learned once; bundles are exported for each share and, at 25 %, with magnitudes and at
random in the learned masks' place, with the same number of KV groups. Each is then a user's base:
fitted on review sentences and judged on held-out ones. Times are of pairs in turns with the whole
base, so that other programs slow both. Finished parts are kept in --folder and not run again.
"""

from __future__ import annotations

import json
import pickle
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import interleaved, parser
from _pruning_alone import alone
from engines import methods

from dsa_edge.adapter import AdapterSpec
from dsa_edge.bundle import Bundle
from dsa_edge.demo import LABELS, find_model, review_sentences
from dsa_edge.examples import Example
from dsa_edge.exporters import Pruning, export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.training import Importance, measure
from dsa_edge.runtime import Budget, Personalizer
from dsa_edge.runtime._backend import open_engine

SHARES = (0.1, 0.25, 0.4)
CONTROL = 0.25
Record = dict[str, Any]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--train", type=int, default=512, help="sentences to learn from")
    made.add_argument("--test", type=int, default=1000, help="held-out sentences")
    made.add_argument("--steps", type=int, help="of a fit (default: what one takes)")
    made.add_argument("--mask-steps", type=int, default=60)
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--repeats", type=int, default=7, help="pairs of timings, or 0")
    made.add_argument("--only", default="", help="bundles, by comma (default: all)")
    made.add_argument("--alone", type=int, default=250, help="sentences that judge bases alone")
    made.add_argument("--report", metavar="FOLDER", help="write the plot there")
    arguments = made.parse_args()
    folder = Path(arguments.folder) / "pruning"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in arguments.only.split(",") if name in plans()] or list(plans())
    wanted = [] if arguments.only == "alone" else wanted
    bundles = {name: exported(folder, name, arguments.mask_steps) for name in wanted}
    rows = {name: row(folder, name, bundles, arguments) for name in bundles}
    if arguments.alone:
        file = folder / "alone.json"
        rows["alone"] = kept(file, lambda: criteria(folder, arguments))
    if arguments.report:
        from _pruning_report import plot

        plot(rows, Path(arguments.report))
    print(json.dumps(rows) if arguments.json else text(rows))


def plans() -> dict[str, tuple[float, str]]:
    """Name → share and how units are ranked."""
    shares: dict[str, tuple[float, str]] = {f"learned-{s:.0%}": (s, "learned") for s in SHARES}
    controls = {f"{by}-{CONTROL:.0%}": (CONTROL, by) for by in ("magnitude", "random")}
    return {"whole": (0.0, ""), **shares, **controls}


def exported(folder: Path, name: str, mask_steps: int) -> Path:
    """A bundle, unless it is there."""
    share, by = plans()[name]
    path = folder / f"{name.replace('%', '')}.dsa"
    if (path / "manifest.json").exists():
        return path
    pruning = None
    if by == "learned":
        pruning = Pruning(share, examples(), known=importance(folder, mask_steps))
    elif by:
        pruning = Pruning(share, by=by, kv_groups=dropped(folder, share, mask_steps))
    print(f"exporting {path}", flush=True)
    export(find_model(), path, pruning=pruning, check=False)
    return path


def dropped(folder: Path, share: float, mask_steps: int) -> int:
    """KV groups that the learned masks' bundle of a share has dropped."""
    bundle = Bundle.open(exported(folder, f"learned-{share:.0%}", mask_steps), check_hashes=False)
    pruned = bundle.manifest.pruned
    return pruned.n_kv_heads - len(pruned.kv_groups[0]) if pruned else 0


def importance(folder: Path, steps: int) -> Importance:
    """Learned once, on other sentences than those that judge."""
    file = folder / "importance.pickle"
    if not file.exists():
        source = open_checkpoint(find_model())
        settings = Pruning(CONTROL, examples(), steps=steps)
        file.write_bytes(pickle.dumps(measure(source, AdapterSpec(), settings, print)))
    made: Importance = pickle.loads(file.read_bytes())
    return made


def criteria(folder: Path, arguments: Any) -> Record:
    """Pruned bases alone, by every criterion."""
    known, found = importance(folder, arguments.mask_steps), list[Record]()
    groups = {share: dropped(folder, share, arguments.mask_steps) for share in SHARES}
    for record in alone(groups, known, arguments.alone):
        print(record, flush=True)
        found.append(record)
    return {"sentences": arguments.alone, "rows": found}


def examples() -> list[Example]:
    """What pruning sees: sentences to learn from, none of those that judge."""
    return [LABELS.example(*row) for row in review_sentences(512, 1)[0]]


def row(folder: Path, name: str, bundles: dict[str, Path], arguments: Any) -> Record:
    """All figures of one bundle."""
    bundle = Bundle.open(bundles[name], check_hashes=False)
    pruned, decoder = bundle.manifest.pruned, bundle.manifest.decoder
    made: Record = {
        "share": pruned.share if pruned else 0.0,
        "kv_groups": decoder["n_kv_heads"],
        "neurons": decoder["ffn_width"],
        "mb": bundle.bytes / 1e6,
        "layers_mb": sizes(bundle),
        "parameters": parameters(decoder),
    }
    if name != "whole" and arguments.repeats:
        whole = exported(folder, "whole", arguments.mask_steps)
        timed = folder / f"{name}.times.json"
        made |= kept(timed, lambda: times(whole, bundles[name], arguments.repeats))
    for seed in range(arguments.seeds):
        file = folder / f"{name}.{seed}.json"
        made[f"seed {seed}"] = kept(file, lambda seed=seed: learned(bundle, seed, arguments))
    return made


def kept(file: Path, run: Callable[[], Record]) -> Record:
    """A part's result: from its file, or run and put there."""
    if not file.exists():
        file.write_text(json.dumps(run()))
        print(file.name, file.read_text(), flush=True)
    result: Record = json.loads(file.read_text())
    return result


def sizes(bundle: Bundle) -> float:
    """Megabytes of the layers: all weights but the embedding, which nothing prunes."""
    decoder = bundle.manifest.decoder
    table = decoder["vocab_size"] * decoder["width"] * (1 + 2 / 32)
    return (bundle.manifest.files["onnx/base.onnx_data"].bytes - table) / 1e6


def parameters(decoder: Record) -> int:
    """Weights of linears and embedding."""
    width, heads = decoder["width"], decoder["n_heads"] * decoder["head_dim"]
    kv = decoder["n_kv_heads"] * decoder["head_dim"]
    layer = width * (2 * heads + 2 * kv + 3 * decoder["ffn_width"])
    return int(decoder["n_layers"] * layer + decoder["vocab_size"] * width)


def times(whole: Path, thin: Path, repeats: int) -> Record:
    """Seconds of thin and whole for each method, and the median ratio of pairs."""
    opened = [Bundle.open(path, check_hashes=False) for path in (thin, whole)]
    works = [methods(open_engine(bundle, "onnx"), bundle) for bundle in opened]
    made: Record = {}
    for name in works[0]:
        pairs = interleaved(works[0][name], works[1][name], repeats)
        made[name] = {
            "ms": 1e3 * statistics.median(a for a, _ in pairs),
            "whole_ms": 1e3 * statistics.median(b for _, b in pairs),
            "ratio": statistics.median(a / b for a, b in pairs),
        }
    return made


def learned(bundle: Bundle, seed: int, arguments: Any) -> Record:
    """Held-out accuracy as it is, with fitted label biases, and after a fit; bare prompts."""
    train, test = review_sentences(arguments.train, arguments.test, seed)
    with Personalizer.open(bundle.path) as me:
        judged = [LABELS.example(*r) for r in test]
        report = me.fit(
            [LABELS.example(*r) for r in train], Budget(steps=arguments.steps), seed=seed
        )
        (start,) = me.replay([0])  # nothing learned but the label biases
        names = ("before", "levelled", "after")
        results = me.evaluate(judged, [0, start, me.version])
        return {
            **{name: r.accuracy for name, r in zip(names, results, strict=True)},
            **{f"{name}_loss": r.loss for name, r in zip(names, results, strict=True)},
            "verdict": report.verdict,
            "step_seconds": report.step_seconds,
        }


def text(rows: dict[str, Record]) -> str:
    lines = []
    for name, made in rows.items():
        if name == "alone":
            lines += [str(record) for record in made["rows"]]
            continue
        ratios = {
            k: f"{v['ratio']:.2f}" for k, v in made.items() if isinstance(v, dict) and "ratio" in v
        }
        told = [
            f"{made[k]['before']:.3f} → {made[k]['after']:.3f}"
            for k in made
            if k.startswith("seed")
        ]
        lines.append(f"{name:<14} {made['mb']:.1f} MB {ratios} {', '.join(told)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
