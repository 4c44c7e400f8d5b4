"""dsa-edge: export a quantized language model once, let every device learn from its own user.

```
HF folder or GGUF ──exporters──▶ bundle ──runtime──▶ text, choices
                                    │
user's examples ───────────▶ probes (forward passes) ──▶ adapter v+1
```

    from dsa_edge import export                       # host: torch, onnx
    from dsa_edge.runtime import Example, Personalizer   # device: numpy and an engine
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsa_edge.exporters import export

__all__ = ["__version__", "export"]

__version__ = "0.1.0"

# ONNX Runtime decides once, when it is imported, whether it reports to its makers: it must not.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # Flower, of `dsa_edge.runtime.federated`, as well

# In a source checkout the sibling folders are our sub-packages; once installed they lie inside.
_here = Path(__file__).resolve().parent
if not (_here / "runtime").exists():
    __path__.append(str(_here.parent))


def __getattr__(name: str) -> object:
    """Load the exporter only when asked for: devices have no torch."""
    if name == "export":
        from dsa_edge.exporters import export

        return export
    raise AttributeError(f"module 'dsa_edge' has no attribute {name!r}")
