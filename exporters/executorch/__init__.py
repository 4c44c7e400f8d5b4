"""The ExecuTorch backend: layers lowered once, run with the weights of each."""

from dsa_edge.exporters.executorch._keep import programs_folder
from dsa_edge.exporters.executorch._write import write_programs

__all__ = ["programs_folder", "write_programs"]
