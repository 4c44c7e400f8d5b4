"""`DsaEdgeModelForCausalLM`: a bundle and a user behind the methods of Optimum's model classes."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import numpy as np

from dsa_edge.errors import MissingDependencyError, UsageError
from dsa_edge.optimum._hub import local_folder
from dsa_edge.runtime import Personalizer, Sampling

__all__ = ["DsaEdgeModelForCausalLM"]


class DsaEdgeModelForCausalLM:
    """A causal language model that learns from its user.

    What Optimum's classes have is here as far as it means the same; all else is at `personalizer`.
    """

    def __init__(self, personalizer: Personalizer) -> None:
        self.personalizer = personalizer
        self._bundle = personalizer.bundle

    @classmethod
    def from_pretrained(
        cls, model_id: str | Path, export: bool = False, store: str | Path | None = None
    ) -> DsaEdgeModelForCausalLM:
        """Open a bundle; with `export`, a model that is exported to a bundle first.

        model_id: a bundle, or with `export` a Hugging Face folder, a GGUF file or a Hub name.
        store: the user's folder; None keeps what is learned in memory.
        An exported bundle lies in a temporary folder until `save_pretrained`. Raises what `export`
        and `Personalizer.open` raise.
        """
        bundle = _exported(local_folder(model_id)) if export else Path(model_id)
        return cls(Personalizer.open(bundle, store=store))

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Copy the bundle, without anything of the user. Raises UsageError where there is one."""
        target = Path(save_directory)
        if target.exists():
            raise UsageError(f"{target} exists: choose another name.")
        shutil.copytree(self._bundle.path, target)

    @property
    def tokenizer(self) -> Any:
        """The bundle's tokenizer as one of transformers, with its chat template."""
        try:
            from transformers import PreTrainedTokenizerFast
        except ImportError as error:
            raise MissingDependencyError("transformers", "optimum", "a tokenizer") from error
        template = self._bundle.path / "chat_template.jinja"
        made = PreTrainedTokenizerFast(tokenizer_file=str(self._bundle.path / "tokenizer.json"))
        if template.exists():
            made.chat_template = template.read_text("utf-8")
        return made

    def generate(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        max_new_tokens: int = 20,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Any:
        """Prompt and continuation, (1, T) int64: a tensor of torch, as `input_ids` (1, P) is.

        attention_mask: accepted as tokenizers give it; one row has nothing to mask.
        Raises UsageError for other than one row, for which `SharedBase.generate` is, and otherwise
        what `Personalizer.stream` raises.
        """
        import torch

        ids = np.asarray(input_ids, dtype=np.int64)
        if ids.ndim != 2 or len(ids) != 1 or not ids.size:
            raise UsageError(
                f"input_ids has shape {ids.shape}, expected (1, P): for several prompts use "
                "`dsa_edge.runtime.SharedBase`."
            )
        sampling = Sampling(temperature if do_sample else 0.0, top_p, seed)
        new = self.personalizer.stream_ids(ids[0], max_new_tokens, sampling)
        return torch.tensor([[*ids[0].tolist(), *new]])

    def close(self) -> None:
        """Close the engine and the store."""
        self.personalizer.close()

    def __enter__(self) -> DsaEdgeModelForCausalLM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _exported(checkpoint: Path) -> Path:
    from dsa_edge.exporters import export

    bundle = Path(mkdtemp(prefix="dsa-edge-")) / f"{checkpoint.stem}.dsa"
    return export(checkpoint, bundle).bundle
