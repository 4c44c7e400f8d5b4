"""A place as the pages speak of it, with a tiny model in the role of SmolLM2."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `from snippets import …`

from props import MODEL, write_texts
from snippets import Page
from tiny import change, copy_of

from dsa_edge.cli import main
from dsa_edge.runtime import Adapter, DeviceState, Personalizer, _conditions


class Cool:
    """A device that may always learn."""

    def read(self) -> DeviceState:
        return DeviceState(True, 100.0, 30.0, 0.0)


@pytest.fixture(scope="session", autouse=True)
def traced_once() -> Iterator[None]:
    """Parts of the tiny model that are the same in several exports are traced once.

    Each export still holds its graphs against the torch model, and would tell a mistake of this.
    """
    from dsa_edge.exporters.onnx import _graphs

    real, made = _graphs.trace, {}

    def trace(name: str, module: Any, values: Any, dynamic: Any, level: int) -> Any:
        shapes = tuple((v.dtype, v.shape) for v in values)
        key = (name, _form(module), shapes, repr(dynamic), level)
        if key not in made:
            made[key] = real(name, module, values, dynamic, level)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_graphs, "trace", trace)
        yield


def _form(module: Any) -> str:
    """What a module computes, but for the numbers of its weights."""
    own = {
        name: {k: v for k, v in vars(part).items() if not k.startswith("_")}
        for name, part in module.named_modules()
    }
    weights = [(k, str(b.dtype), tuple(b.shape)) for k, b in module.named_buffers()]
    told = repr((type(module), str(module), own, weights))
    return re.sub(
        r"(max_positions|interpolated_from|attention_group)=\w+|rope=RopeSpec\([^)]*\)", "", told
    )


@pytest.fixture(scope="session")
def export_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], int]:
    """`dsa-edge export` in words; the same export is done once, and copied after that."""
    made: dict[str, Path] = {}

    def export(words: list[str]) -> int:
        model, bundle, *options = words
        key = repr((model.replace("/", ""), options))
        if key not in made:
            code = main(["export", *words])
            if code == 0 and Path(bundle).exists():
                made[key] = copy_of(Path(bundle), tmp_path_factory.mktemp("once") / "bundle")
            return code
        if Path(bundle).exists():
            return main(["export", *words])  # to be refused
        shutil.copytree(made[key], bundle)
        return 0

    return export


@pytest.fixture
def place(
    tiny_folder: Path, tiny_gguf: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """An empty folder but for the model and the files that the pages speak of, and one goes there.

    The base is tiny, its context is not.
    """
    eps = float(np.float32(1e-6))  # as GGUF keeps it, so that both forms are the same model
    change(tiny_folder / "config.json", {"max_position_embeddings": 1024, "rms_norm_eps": eps})
    folder = tmp_path / "place"
    folder.mkdir()
    tiny_folder.rename(folder / MODEL)
    shutil.copytree(folder / MODEL, folder / "model")
    entries = {"llama.context_length": 1024, "llama.attention.layer_norm_rms_epsilon": eps}
    shutil.copy(tiny_gguf("Q4_1", entries), folder / "model.Q4_1.gguf")
    write_texts(folder)
    for name, text in Page("docs/personalize.md").files().items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_conditions, "LinuxDevice", Cool)
    return folder


@pytest.fixture
def learned(place: Path, export_once: Callable[[list[str]], int]) -> Callable[[], None]:
    """Puts `smol.dsa` there, with a user in `me/` who has learned something."""

    def put() -> None:
        assert export_once([f"{MODEL}/", "smol.dsa"]) == 0
        with Personalizer.open("smol.dsa", store="me/") as me:
            noise = np.random.default_rng(5).standard_normal(me.adapter.vector.size) / 8
            me.use_adapter(Adapter(noise.astype(np.float32)))

    return put
