"""Names of a LoRA's tensors in PEFT, Unsloth and MLX-LM, and which part of ours each one is.

base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight          PEFT, Unsloth
base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight  PEFT, a raw state
model.layers.0.self_attn.q_proj.lora_a                                  MLX-LM, transposed
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dsa_edge.kinds import MODULES

__all__ = ["Part", "module_name", "parse"]

_TARGETS = {module: target for target, module in MODULES.items()}
# Where the language model lies: plain, and the two layouts of models that also see.
_KEY = re.compile(
    r"(?:base_model\.model\.)?"
    r"(?P<outer>model\.|language_model\.model\.|model\.language_model\.)?"
    r"layers\.(?P<layer>0|[1-9][0-9]{0,3})\."
    rf"(?P<module>{'|'.join(map(re.escape, MODULES.values()))})\."
    r"(?:lora_(?P<peft>[AB])(?:\.default)?\.weight|lora_(?P<mlx>[ab]))",
    re.ASCII,
)


@dataclass(frozen=True)
class Part:
    """One tensor of a LoRA: factor `a` or `b` of a target in a layer.

    module: its linear in the file's own words, which patterns are matched with.
    transposed: as MLX-LM keeps it, `a` (n_in, r) and `b` (r, n_out).
    """

    layer: int
    target: str
    factor: str
    module: str
    transposed: bool

    @property
    def slot(self) -> str:
        """Our name."""
        return f"layers.{self.layer}.{self.target}.{self.factor}"


def parse(key: str) -> Part | None:
    """Which part of ours a tensor is, None for a name that is no LoRA of a decoder's linear."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    layer, module = int(found["layer"]), found["module"]
    factor = (found["peft"] or found["mlx"]).lower()
    full = f"{found['outer'] or ''}layers.{layer}.{module}"
    return Part(layer, _TARGETS[module], factor, full, found["mlx"] is not None)


def module_name(layer: int, target: str) -> str:
    """A linear's name in a Hugging Face model."""
    return f"model.layers.{layer}.{MODULES[target]}"
