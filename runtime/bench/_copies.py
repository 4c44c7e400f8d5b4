"""What a device needs, copied where it is not there yet, and looked at again on arrival."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from dsa_edge.bundle import Bundle, hash_file
from dsa_edge.errors import TargetError, UsageError
from dsa_edge.runtime.bench._target import Target

__all__ = ["RUNNER", "copy_bundle", "copy_runner"]

RUNNER = "dsa_runner"
SECONDS = 600.0  # for a device to read what it has


def copy_bundle(bundle: Bundle, target: Target) -> str:
    """Have a bundle on a device; returns its path there.

    Raises TargetError where that cannot be done, or where files arrive damaged.
    """
    if target.folder is None:
        return str(bundle.path)
    hashes = {name: entry.sha256 for name, entry in bundle.manifest.files.items()}
    hashes["manifest.json"] = hash_file(bundle.path / "manifest.json")
    # By what it is made of: another export of the same base may have other programs.
    folder = f"{target.folder}/{hashes['manifest.json'][:16]}.dsa"
    _copy(bundle.path, hashes, target, folder)
    return folder


def copy_runner(runner: Path, target: Target) -> str:
    """Have `dsa_runner` and the libraries beside it on a device; returns its path there.

    runner: the folder that holds them, or the program in it.
    Raises UsageError where there is no such program, TargetError as `copy_bundle`.
    """
    folder = runner if runner.is_dir() else runner.parent
    if not (folder / RUNNER).is_file():
        raise UsageError(f"no {RUNNER} in {folder}: give the folder that `make native` filled.")
    if target.folder is None:
        return str(folder.resolve() / RUNNER)
    files = [folder / RUNNER, *folder.glob("*.so*"), *folder.glob("lib/*.so*")]
    hashes = {str(file.relative_to(folder)): hash_file(file) for file in files if file.is_file()}
    _copy(folder, hashes, target, f"{target.folder}/runner")
    target.run(f"chmod +x {shlex.quote(target.folder)}/runner/{RUNNER}", 60)
    return f"{target.folder}/runner/{RUNNER}"


def _copy(source: Path, hashes: Mapping[str, str], target: Target, folder: str) -> None:
    missing = _differing(hashes, target, folder)
    if not missing:
        return
    target.push(source, missing, folder)
    damaged = _differing({name: hashes[name] for name in missing}, target, folder)
    if damaged:
        raise TargetError(
            f"{', '.join(damaged[:3])} arrived damaged on {target.name}: check its storage and the "
            "connection, and run it again."
        )


def _differing(hashes: Mapping[str, str], target: Target, folder: str) -> list[str]:
    """The files that a device does not have as they should be."""
    names = " ".join(map(shlex.quote, hashes))
    script = f"cd {shlex.quote(folder)} 2> /dev/null && sha256sum {names} 2> /dev/null; true"
    found = {}
    for line in target.run(script, SECONDS).splitlines():
        digest, _, name = line.partition(" ")
        found[name.strip().removeprefix("*")] = digest
    return [name for name, digest in hashes.items() if found.get(name) != digest]
