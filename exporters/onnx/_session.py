"""Runs a bundle's graphs while exporting and verifying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

__all__ = ["Session"]


class Session:
    """One method of a bundle on ONNX Runtime.

    exact: compute with float32 activations whatever the file says, to tell a wrong graph from the
    rounding of int8 activations.
    """

    def __init__(self, folder: Path, method: str, exact: bool = False) -> None:
        path = folder / "onnx" / f"{method}.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        model = onnx.load(path, load_external_data=False)
        if exact:
            for function in model.functions:
                _use_float(function)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the method; returns its outputs by name."""
        feeds = {**self._unsaid(feeds), **self._any_route(feeds), **feeds}
        values = self._session.run(None, {k: np.ascontiguousarray(v) for k, v in feeds.items()})
        return dict(zip(self._outputs, values, strict=True))

    def _any_route(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The first block for every example, where the method routes and no route was given."""
        names = {i.name for i in self._session.get_inputs()} - set(feeds)
        first = np.zeros((len(feeds["lengths"]), 1), np.int64) if "lengths" in feeds else None
        if first is None or "route_index" not in names:
            return {}
        return {"route_index": first, "route_weight": np.ones(first.shape, np.float32)}

    def _unsaid(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the method takes and was not given: an empty shared prefix, a lane an adapter."""
        missing = [i for i in self._session.get_inputs() if i.name not in feeds]
        shape = [[d if isinstance(d, int) else 0 for d in i.shape] for i in missing]
        found: dict[str, NDArray[Any]] = {
            i.name: np.zeros(s, np.float16)
            for i, s in zip(missing, shape, strict=True)
            if i.name.startswith("prefix_")
        }
        if "lanes" in {i.name for i in missing}:
            found["lanes"] = np.zeros(len(feeds["adapter"]), np.float32)
        return found


def _use_float(function: onnx.FunctionProto) -> None:
    for node in function.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = 1
