"""Lowered programs are kept on this machine: the second export of a geometry lowers nothing.

A program depends on shapes and versions alone, so one that was kept serves every adapter, every
depth and every checkpoint of a geometry. It is run beside its torch module at each export all the
same (`_check.py`). Anything wrong with a kept file, and it is lowered again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from dsa_edge.adapter import write_atomic
from dsa_edge.errors import AdapterError
from dsa_edge.exporters.executorch._lower import Lowered, lower_template

__all__ = ["form_of", "lowered", "programs_folder"]

KEPT = 64  # programs; each takes about a megabyte
PRODUCERS = ("executorch", "torch", "torchao")
PACKAGE = Path(__file__).parents[2]
SOURCES = ("exporters/executorch", "exporters/adapters", "exporters/decoder", "kernels")


def programs_folder() -> Path:
    """Where programs are kept: the cache folder of this user."""
    from platformdirs import user_cache_path

    return user_cache_path("dsa-edge") / "programs"


def lowered(
    module: nn.Module, values: tuple[Tensor, ...], dynamic: Any, form: str, folder: Path | None
) -> Lowered:
    """A module's program: the kept one of its form, or one that is lowered and then kept.

    folder: of kept programs; None lowers always.
    """
    file = folder / f"{form}.zip" if folder else None
    found = file and _read(file)
    if found:
        return found
    made = lower_template(module, values, dynamic)
    if file:
        _write(file, made)
    return made


def form_of(module: nn.Module, values: tuple[Tensor, ...], dynamic: Any) -> str:
    """Digest of all that a program depends on: modules of one form have the same program."""
    what = [
        type(module).__name__,
        cast(Any, module).form,
        [(name, str(b.dtype), list(b.shape)) for name, b in module.named_buffers()],
        [(str(v.dtype), list(v.shape)) for v in values],
        str(dynamic),
        [version(package) for package in PRODUCERS],
        _sources(),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _sources() -> str:
    """Digest of the code that a program is traced from."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((PACKAGE / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(file: Path, made: Lowered) -> None:
    """Keep a program; a folder that cannot be written costs time, not the export."""
    info = {"names": made.names, "operators": made.operators, "outside": made.outside}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("program.pte", made.program)
        archive.writestr("weights.ptd", made.without_weights().data)
        archive.writestr("info.json", json.dumps(info))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, content.getvalue())
        kept = sorted(file.parent.glob("*.zip"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)
    except (AdapterError, OSError):
        return


def _read(file: Path) -> Lowered | None:
    try:
        with zipfile.ZipFile(file) as archive:  # which checks every part's CRC
            info = json.loads(archive.read("info.json"))
            program, data = archive.read("program.pte"), archive.read("weights.ptd")
        operators = tuple(info["operators"])
        return Lowered.read(program, data, info["names"], operators, int(info["outside"]))
    except Exception:  # whatever a damaged file makes zip, JSON and ExecuTorch raise
        return None
