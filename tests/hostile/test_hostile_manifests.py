"""Manifests with every field removed or replaced: refused when opened, or harmless."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifests import write_manifest
from stub import StubEngine

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import BundleError, DsaEdgeError
from dsa_edge.runtime import Budget, Example, Personalizer
from dsa_edge.runtime._store import Store

REMOVE = object()
JUNK: list[Any] = [REMOVE, None, True, -1, 0, 1.5, 10**30, "x", "", [], {}, [[]]]
CHOICES = (" a", " b")
SIZES = (
    "n_layers", "width", "n_heads", "n_kv_heads", "head_dim", "ffn_width", "vocab_size",
    "max_positions",
)  # fmt: skip
Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def victim(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny bundle; each test writes its own manifest into it."""
    return Path(shutil.copytree(bundle, tmp_path_factory.mktemp("victim") / "b.dsa"))


def places(value: Any, prefix: Place = ()) -> Iterator[Place]:
    """Paths of all entries; of a list, the first two stand for the rest."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, inner in entries:
        yield (*prefix, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*prefix, key))


def changed(manifest: dict[str, Any], place: Place, junk: Any) -> dict[str, Any]:
    made = copy.deepcopy(manifest)
    inner: Any = made
    for key in place[:-1]:
        inner = inner[key]
    if junk is REMOVE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = junk
    return made


def use(path: Path) -> None:
    """What a user does with a bundle, without the graphs."""
    me = Personalizer(StubEngine(path), Store(None, "x" * 64))
    examples = [Example(f"say {w}", CHOICES[i], CHOICES) for i, w in enumerate(("rain", "bread"))]
    me.fit(examples, Budget(steps=1, memory_mb=1e5))
    me.choose("say rain", CHOICES, version=0)
    assert me.encode("rain")


@pytest.mark.parametrize(
    "part",
    ["schema", "identity", "base", "decoder", "adapter", "tokenizer", "golden", "files", "chat"],
)
def test_no_change_of_a_manifest_ends_in_a_traceback(
    bundle: Path, victim: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    below = places(manifest[part], (part,)) if isinstance(manifest[part], dict | list) else ()
    refused = 0
    for place in [(part,), *below]:
        for junk in JUNK:
            write_manifest(victim / "manifest.json", changed(manifest, place, junk))
            try:
                Bundle.open(victim, check_hashes=False)
            except BundleError as error:
                assert str(victim) in str(error)
                refused += 1
                continue
            assert main(["inspect", str(victim), "--slots"]) in (0, 1)  # 1: its hash differs
            if len(place) > 2:
                continue
            try:
                use(victim)
            except DsaEdgeError as error:
                assert str(error).endswith(".")
    capsys.readouterr()
    assert refused >= len(JUNK) - 1  # the part itself is never optional, but for chats


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("junk", [REMOVE, None, "64", 64.0, True, 0, -1, 2**31])
def test_sizes_that_memory_is_computed_from_are_checked(
    bundle: Path, victim: Path, name: str, junk: Any
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    made = changed(manifest, ("decoder", name), junk)
    write_manifest(victim / "manifest.json", made)
    with pytest.raises(BundleError, match=f"not a valid manifest .*{name}"):
        Bundle.open(victim, check_hashes=False)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"schema": ' + "1" * 5000 + "}", '{"schema": 1e999}', "\x00", "NaN"]
)
def test_json_that_hurts_is_refused(victim: Path, text: str) -> None:
    (victim / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(victim)


def test_a_folder_in_the_place_of_a_file_is_no_file(bundle: Path, victim: Path) -> None:
    shutil.copy(bundle / "manifest.json", victim / "manifest.json")
    (victim / "tokenizer.json").rename(victim / "aside")
    (victim / "tokenizer.json").mkdir()
    try:
        with pytest.raises(BundleError, match=r"lacks its file tokenizer\.json"):
            Bundle.open(victim)
    finally:
        (victim / "tokenizer.json").rmdir()
        (victim / "aside").rename(victim / "tokenizer.json")
