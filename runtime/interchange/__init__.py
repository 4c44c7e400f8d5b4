"""Adapters of other libraries: PEFT, Unsloth and MLX-LM files in, PEFT files and merged models out.

```
PEFT, Unsloth, MLX-LM folder ──import_adapter──▶ Adapter ──export_adapter──▶ PEFT folder
                                                    └──────merge_adapter───▶ Hugging Face folder
```

numpy and safetensors only, so it works on a device. Read `_names.py` (keys), `_rules.py` (what a
configuration means), `_import.py`, `_deltas.py` (our kinds as B and A), `_export.py`, `_merge.py`.
"""

from dsa_edge.runtime.interchange._export import Exported, export_adapter
from dsa_edge.runtime.interchange._import import Imported, import_adapter
from dsa_edge.runtime.interchange._merge import Merged, merge_adapter, merge_loss

__all__ = [
    "Exported",
    "Imported",
    "Merged",
    "export_adapter",
    "import_adapter",
    "merge_adapter",
    "merge_loss",
]
