"""The `dsa-edge` command: one module a verb, imported only when that verb runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["VERBS", "main"]

VERBS = {
    "export": "turn a base model into a bundle",
    "meta-train": "learn from many users where new ones should begin",
    "inspect": "show what a bundle or an adapter file holds",
    "verify": "check a bundle against the model in it",
    "plan": "predict what learning would take",
    "personalize": "learn from a user's examples",
    "tune": "search for settings, or measure what more examples bring",
    "evaluate": "measure loss and accuracy on examples",
    "choose": "pick the likeliest of several answers",
    "generate": "continue a prompt",
    "history": "list the versions and fits in a store",
    "rollback": "use an earlier version again",
    "forget": "delete what was learned, all of it or from some examples",
    "import-adapter": "take a LoRA of PEFT, Unsloth or MLX-LM",
    "export-adapter": "give what was learned to PEFT",
    "merge": "measure what merging would lose; forced, merge into float32",
    "rekey": "seal a store, change its key, or unseal it",
    "bench": "measure speed and memory here, on a board or on a phone",
    "doctor": "check this installation, or list all that it writes",
    "demo": "personalize a real model from end to end",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dsa-edge VERB …`; returns 0 done, 1 the work failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb, *rest = arguments or [""]
    from dsa_edge.cli._common import guarded

    if verb == "--version":
        return guarded(verb, _version, rest)
    if verb in ("", "-h", "--help", "help"):
        shown = guarded(verb, _help, rest)
        return shown if verb else 2
    if verb not in VERBS:
        print(f"dsa-edge: no verb {verb!r}: use one of {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    module = import_module(f"dsa_edge.cli._{verb.replace('-', '_')}")
    return guarded(verb, module.main, rest)


def _version(_: Sequence[str]) -> int:
    from dsa_edge import __version__

    print(f"dsa-edge {__version__}")
    return 0


def _help(_: Sequence[str]) -> int:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    print(f"""usage: dsa-edge VERB [options]

Export a quantized language model once; let every device learn from its own user.

  HF folder or GGUF ──export──▶ bundle ──personalize──▶ adapter ──▶ text, choices

verbs:
{verbs}

`dsa-edge VERB --help` has the options and examples of a verb. Every verb takes --json.
exit codes: 0 done, 1 the work failed, 2 wrong use""")
    return 0
