"""`optimum-cli export dsa-edge`: the verb `export` under Optimum's words for model and output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo

from dsa_edge.cli._common import guarded
from dsa_edge.cli._export import add_options, run
from dsa_edge.optimum._hub import local_folder

__all__ = ["DsaEdgeExportCommand"]


class DsaEdgeExportCommand(BaseOptimumCLICommand):
    """A base model, from a folder, a GGUF file or the Hub, to a bundle."""

    COMMAND = CommandInfo(name="dsa-edge", help="Export to a bundle that learns on devices.")

    @staticmethod
    def parse_args(parser: argparse.ArgumentParser) -> None:
        """Add the options of `dsa-edge export`."""
        parser.add_argument(
            "-m", "--model", required=True,
            help="Hugging Face folder (safetensors), GGUF file, or the name of a model on the Hub",
        )  # fmt: skip
        parser.add_argument("output", help="folder to write")
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        add_options(parser)

    def run(self) -> None:
        """Export; the program ends with exit code 1 or 2 where that fails."""

        def export(_: Sequence[str]) -> int:
            self.args.checkpoint, self.args.bundle = local_folder(self.args.model), self.args.output
            return run(self.args)

        code = guarded("export", export, ["--json"] if self.args.json else [])
        if code:
            sys.exit(code)
