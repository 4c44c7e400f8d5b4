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
    from dsa_edge.runtime._compare import compare_engines

    with progress(len(STAGES), "verify", "stage") as bar:

        def on_stage(stage: str) -> None:
            bar.set_description(stage)
            bar.update()

        checks = verify(arguments.bundle, on_stage)
        engines = compare_engines(Bundle.open(arguments.bundle, check_hashes=False))
    rows = [(c.stage, f"ok  {c.measured:.3g} (tolerance {c.tolerance:.3g})") for c in checks]
    if engines:
        text = (
            f"ok  {engines.difference:.3g} nats (tolerance {engines.tolerance:.3g}), adapters' "
            f"effects correlate {engines.adapter_correlation:.3f}, same choice at "
            f"{engines.same_choices:.0%}"
        )
        rows.append(("engines", text))
    data = {
        "ok": True,
        "checks": [asdict(check) for check in checks],
        "engines": asdict(engines) if engines else None,
    }
    emit(arguments, data, table(rows))
    return 0
