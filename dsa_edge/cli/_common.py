"""What the verbs share: parsers, output, progress, and errors as one sentence."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_edge.cli._keys import FORMS, key_choice, key_of
from dsa_edge.errors import DsaEdgeError, TamperError, UsageError

if TYPE_CHECKING:
    from dsa_edge.examples import Example, Labels
    from dsa_edge.runtime import Budget, Personalizer
    from dsa_edge.runtime._versions import Versions

__all__ = [
    "add_examples",
    "add_labels",
    "add_memory",
    "add_store",
    "add_user",
    "comma_list",
    "emit",
    "guarded",
    "labels_of",
    "load_examples",
    "memory_of",
    "open_personalizer",
    "open_versions",
    "parser",
    "progress",
    "routes_rows",
    "table",
]


def parser(verb: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser for one verb, with --json and a list of examples at the end of its help."""
    made = argparse.ArgumentParser(
        prog=f"dsa-edge {verb}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def add_store(made: argparse.ArgumentParser, required: bool = False) -> None:
    """The options of every verb that runs a bundle for a user."""
    add_user(made, required)
    made.add_argument("--backend", default="auto", help="auto, onnx or executorch (default: auto)")
    made.add_argument(
        "--layers-kept", type=int, metavar="N", help="layers that ExecuTorch keeps in memory"
    )
    made.add_argument("--threads", type=int, metavar="N", help="of the engine (default: all cores)")


def add_user(made: argparse.ArgumentParser, required: bool = True) -> None:
    """The options of every verb that opens a user's store."""
    made.add_argument("bundle", help="bundle folder, as `dsa-edge export` wrote it")
    made.add_argument("--store", required=required, metavar="DIR", help="the user's folder")
    made.add_argument(
        "--key", type=key_choice, metavar="KEY", help=f"of a sealed store: {FORMS}; seals a new one"
    )


def add_examples(made: argparse.ArgumentParser, required: bool = True) -> None:
    """The options that say where examples are and how labels become prompts."""
    made.add_argument("--data", required=required, metavar="FILE", help="JSONL, one example a line")
    add_labels(made)


def add_labels(made: argparse._ActionsContainer) -> None:
    """How labelled texts become prompts."""
    made.add_argument(
        "--template", metavar="T", help="prompt for text/label lines: '{text} It was', or @FILE"
    )
    made.add_argument("--labels", metavar="A,B", help="label words, in the order of their indices")


def add_memory(made: argparse.ArgumentParser) -> None:
    """The bound of verbs that run prompts and learn nothing."""
    made.add_argument(
        "--memory-mb", type=float, metavar="M", help="peak memory; long prompts then run in parts"
    )


def memory_of(arguments: argparse.Namespace) -> Budget:
    """The bound of --memory-mb."""
    from dsa_edge.runtime import Budget

    return Budget(memory_mb=arguments.memory_mb)


def comma_list(text: str) -> tuple[str, ...]:
    """Words between commas; spaces around them are kept only when escaped by quotes."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def labels_of(arguments: argparse.Namespace, plain: Callable[[str], str]) -> Labels | None:
    """The labels that --template and --labels describe, if they were given.

    plain: of the base's tokenizer, for the texts that go into the template.
    """
    from dsa_edge.examples import Labels

    if arguments.template is None and arguments.labels is None:
        return None
    if arguments.template is None or arguments.labels is None:
        raise UsageError("--template and --labels belong together: give both or neither.")
    return Labels(_template(arguments.template), comma_list(arguments.labels), plain)


def _template(text: str) -> str:
    """A template as given, or the contents of the file after an @."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the template file {text[1:]} cannot be read ({error}): give a UTF-8 text file."
        ) from error


def load_examples(arguments: argparse.Namespace, me: Personalizer) -> list[Example]:
    """Read the examples of --data."""
    from dsa_edge.examples import read_examples

    return read_examples(arguments.data, labels_of(arguments, me.plain), me.chat)


def open_personalizer(arguments: argparse.Namespace) -> Personalizer:
    """Open the bundle and store of the command line."""
    from dsa_edge.runtime import Personalizer

    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError(f"--threads is {arguments.threads}, expected at least 1.")
    me = Personalizer.open(
        arguments.bundle, arguments.store, arguments.backend, arguments.threads,
        layers_kept=arguments.layers_kept, key=key_of(arguments.key, arguments.store),
    )  # fmt: skip
    me.sparse = not getattr(arguments, "full_attention", False)
    try:
        _warn(me)
    except BaseException:
        me.close()
        raise
    return me


@contextmanager
def open_versions(arguments: argparse.Namespace) -> Iterator[Versions]:
    """Open the store of the command line alone: no engine is needed, no weights are read."""
    from dsa_edge.bundle import Bundle
    from dsa_edge.runtime._store import Store
    from dsa_edge.runtime._versions import Versions

    bundle = Bundle.open(arguments.bundle, check_hashes=False)
    key = key_of(arguments.key, arguments.store)
    store = Store(Path(arguments.store), bundle.identity, key)
    me = Versions(bundle, store)
    try:
        _warn(me)
    except TamperError as error:  # going back or forgetting is the way out, so go on
        _say(str(error))
    try:
        yield me
    finally:
        store.close()


def _warn(me: Versions) -> None:
    """Say which versions cannot be read, and what is used instead."""
    damaged, used = me.damaged, me.version
    if me.active_damaged:
        _say(
            f"the store no longer knows which version was in use, and version {used}, the newest "
            f"whole one, is: choose one with `dsa-edge rollback --version {used}`."
        )
    elif damaged:
        which = ", ".join(map(str, damaged))
        _say(
            f"version {which} is damaged, and version {used} is used instead: restore the store "
            f"from a backup, or go on with `dsa-edge rollback --version {used}`."
        )


def _say(warning: str) -> None:
    print(f"dsa-edge: warning: {warning}", file=sys.stderr)


def emit(arguments: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    """Print the result: JSON when asked for, else text."""
    print(json.dumps(_without_nan(data), default=_plain) if arguments.json else text)


def progress(total: int | None, what: str, unit: str) -> Any:
    """A progress bar on stderr; silent where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty(), leave=False)


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Two columns, names and values."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def routes_rows(served: Sequence[int]) -> list[tuple[str, object]]:
    """How many prompts each block served, and how evenly; nothing where there is one block."""
    from dsa_edge.gate import evenness

    told = ", ".join(f"block {block}: {count}" for block, count in enumerate(served))
    even = f"{evenness(served):.2f} (1: blocks serve alike, 0: one serves all)"
    return [("prompts served", told), ("entropy of routes", even)] if told else []


def guarded(verb: str, run: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a verb; errors become one sentence on stderr and an exit code."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without our arrows shows escapes instead
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = run(argv)
        sys.stdout.flush()  # a reader that went away is noticed here, not at exit
        return code
    except DsaEdgeError as error:
        if "--json" in argv:
            print(json.dumps({"error": str(error), "kind": type(error).__name__}))
        print(f"dsa-edge {verb}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print(f"dsa-edge {verb}: stopped; what was saved before is unchanged.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that may not be read, a disk that is full
        why = error.strerror or error
        reason = f"{why} ({error.filename}): check the path and its permissions."
        if "--json" in argv:
            print(json.dumps({"error": reason, "kind": type(error).__name__}))
        print(f"dsa-edge {verb}: {reason}", file=sys.stderr)
        return 1
    except MemoryError:
        print(
            f"dsa-edge {verb}: out of memory: lower --memory-mb or close other programs.",
            file=sys.stderr,
        )
        return 1


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: null instead."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else vars(value)
