"""A bundle on disk: open it, check it, find its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dsa_edge.errors import BundleError
from dsa_edge.manifest import FileEntry, Manifest

__all__ = ["Bundle", "hash_file"]

_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Bundle:
    """An exported model: a folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, check_hashes: bool = True) -> Bundle:
        """Read a bundle's manifest and check that its files are the ones it lists.

        check_hashes: False checks only that the files exist and have the listed sizes.
        Raises BundleError when something is missing or differs.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(
                f"no bundle at {folder}: give the folder that `dsa-edge export` wrote."
            )
        bundle = cls(folder, Manifest.read(folder / "manifest.json"))
        for name, entry in bundle.manifest.files.items():
            bundle._check(name, entry, check_hashes)
        return bundle

    @property
    def identity(self) -> str:
        """What adapters and stores are bound to."""
        return self.manifest.identity

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    def method_file(self, method: str) -> Path:
        """The graph of one method.

        Raises BundleError for a method that the bundle does not have.
        """
        if method not in self.manifest.methods:
            raise BundleError(
                f"{self.path} has no method {method!r} (it has "
                f"{', '.join(self.manifest.methods)}): export it again with this dsa-edge."
            )
        return self.path / self.manifest.methods[method][0]

    def read_text(self, name: str) -> str | None:
        """A text file of the bundle, or None when it has none of that name.

        Raises BundleError when it is no UTF-8.
        """
        if name not in self.manifest.files:
            return None
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(
                f"{self.path / name} is not UTF-8 (byte {error.start + 1}): copy or export the "
                "bundle again."
            ) from error

    def _check(self, name: str, entry: FileEntry, check_hash: bool) -> None:
        file = self.path / name
        if not file.is_file():
            raise BundleError(
                f"{self.path} lacks its file {name}: copy or export the bundle again."
            )
        size = file.stat().st_size
        if size != entry.bytes:
            raise BundleError(
                f"{file} has {size} bytes, its manifest says {entry.bytes}: "
                "copy or export the bundle again."
            )
        if check_hash and (found := hash_file(file)) != entry.sha256:
            raise BundleError(
                f"{file} was changed after the export (sha256 {found[:12]}…, manifest "
                f"{entry.sha256[:12]}…): copy or export the bundle again."
            )


def hash_file(path: Path) -> str:
    """Sha256 of a file in hex, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
