"""The ONNX backend: parts traced once, methods composed as chains of ONNX functions."""

from dsa_edge.exporters.onnx._session import Session
from dsa_edge.exporters.onnx._write import MethodInfo, write_graphs

__all__ = ["MethodInfo", "Session", "write_graphs"]
