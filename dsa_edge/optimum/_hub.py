"""Models by the names that Optimum's users know: what is no path is looked for on the Hub."""

from __future__ import annotations

from pathlib import Path

from dsa_edge.errors import CheckpointError, MissingDependencyError

__all__ = ["local_folder"]

FILES = ["*.json", "*.jinja", "*.model", "*.safetensors"]


def local_folder(model: str | Path) -> Path:
    """The path of a model: itself where it exists, else its copy in Hugging Face's cache.

    The one place that may open a network connection, by Hugging Face's own client, and not where
    HF_HUB_OFFLINE=1 is set. Raises CheckpointError or MissingDependencyError.
    """
    path = Path(model)
    if path.exists():
        return path
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError("huggingface_hub", "optimum", "a model's name") from error
    try:
        return Path(snapshot_download(str(model), allow_patterns=FILES))
    except Exception as error:  # of many kinds: names, network, rights, disk
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{model} is no path here, and cannot be had from the Hub ({reason[:200]}): give the "
            "folder of a model, or correct its name."
        ) from error
