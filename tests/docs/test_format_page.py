"""The format page names every field and tensor of a bundle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from snippets import Page

from dsa_edge.manifest import Manifest, StartInfo
from dsa_edge.programs import ExecutorchInfo, ProgramInfo, TableInfo
from dsa_edge.pruned import Pruned
from dsa_edge.quantization import QuantizationInfo

TEXT = Page("docs/format.md").text
FREE = ("files", "producers", "methods", "parameters")  # whose keys are data


def fields(content: dict[str, Any]) -> Iterator[str]:
    for name, value in content.items():
        yield name
        if isinstance(value, dict) and name not in FREE:
            yield from fields(value)


@pytest.fixture
def manifest(learned: Callable[[], None]) -> dict[str, Any]:
    """That of a bundle, as JSON."""
    learned()
    return dict(json.loads(Path("smol.dsa/manifest.json").read_text("utf-8")))


def test_each_field_of_the_manifest_is_there(manifest: dict[str, Any]) -> None:
    assert not {name for name in fields(manifest) if f"`{name}`" not in TEXT}


def test_fields_that_only_some_manifests_have_are_there() -> None:
    optional = (ExecutorchInfo, ProgramInfo, TableInfo, QuantizationInfo, Pruned, StartInfo)
    named = {field.name for entry in (Manifest, *optional) for field in dataclasses.fields(entry)}
    assert not {name for name in named if f"`{name}`" not in TEXT}


def test_each_tensor_of_the_methods_is_there(manifest: dict[str, Any]) -> None:
    rows = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| `")]
    types = {row[1].strip(): row[0] for row in rows if len(row) == 2}
    for name, (_, inputs, outputs) in manifest["methods"].items():
        assert f"| `{name}` |" in TEXT
        for tensor in [*inputs, *outputs]:
            assert f"`{tensor['name']}`" in types[tensor["dtype"]]
