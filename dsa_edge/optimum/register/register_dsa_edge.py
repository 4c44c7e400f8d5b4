"""Found by `optimum-cli`: installed as `optimum/commands/register/register_dsa_edge.py`."""

from optimum.commands.export.base import ExportCommand

from dsa_edge.optimum._command import DsaEdgeExportCommand

REGISTER_COMMANDS = [(DsaEdgeExportCommand, ExportCommand)]
