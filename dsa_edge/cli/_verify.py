"""`dsa-edge verify`: does a bundle do what the model in it does?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dsa_edge.cli._common import emit, parser, progress, table

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge verify smol.dsa
  dsa-edge verify smol.dsa --json"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser(
        "verify", "Check a bundle against the torch model that its weights make.", EXAMPLES
    )
    made.add_argument("bundle", help="bundle folder")
    arguments = made.parse_args(argv)
    from dsa_edge.bundle import Bundle
    from dsa_edge.exporters._verify import STAGES, verify
    from dsa_edge.runtime._backend import open_engines
    from dsa_edge.runtime._check_engine import check_engine
    from dsa_edge.runtime._compare import compare_engines

    with progress(len(STAGES) + 2, "verify", "stage") as bar:

        def on_stage(stage: str) -> None:
            bar.set_description(stage)
            bar.update()

        checks = verify(arguments.bundle, on_stage)
        on_stage("golden on every engine")
        bundle = Bundle.open(arguments.bundle, check_hashes=False)
        engines = open_engines(bundle)
        runs = [check_engine(engine) for engine in engines]
        on_stage("engines")
        compared = compare_engines(*engines) if len(engines) == 2 else None
    rows = [(c.stage, f"ok  {c.measured:.3g} (tolerance {c.tolerance:.3g})") for c in checks]
    for run in runs:
        text = (
            f"ok  {run.same} of {run.tokens} tokens, the worst {run.margin:.3g} nats below the "
            f"likeliest (tolerance {run.tolerance:.3g})"
        )
        rows.append((f"golden on {run.engine}", text))
    if compared:
        text = (
            f"ok  {compared.difference:.3g} nats (tolerance {compared.tolerance:.3g}), adapters' "
            f"effects correlate {compared.adapter_correlation:.3f}, same choice at "
            f"{compared.same_choices:.0%}"
        )
        rows.append(("engines", text))
    data = {
        "ok": True,
        "checks": [asdict(check) for check in checks],
        "golden": [asdict(run) for run in runs],
        "engines": asdict(compared) if compared else None,
    }
    emit(arguments, data, table(rows))
    return 0
