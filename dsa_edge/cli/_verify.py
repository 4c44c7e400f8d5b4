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
    from dsa_edge.exporters._verify import STAGES, verify

    with progress(len(STAGES), "verify", "stage") as bar:

        def on_stage(stage: str) -> None:
            bar.set_description(stage)
            bar.update()

        checks = verify(arguments.bundle, on_stage)
    rows = [(c.stage, f"ok  {c.measured:.3g} (tolerance {c.tolerance:.3g})") for c in checks]
    emit(arguments, {"ok": True, "checks": [asdict(check) for check in checks]}, table(rows))
    return 0
