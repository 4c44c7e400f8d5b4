"""How much fits: rows and tokens a run of the engine may hold, and bytes of prompt cache."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from dsa_edge.errors import BudgetError, UsageError
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._memory import resident_mb

__all__ = [
    "LEAST",
    "MB",
    "Budget",
    "Chunks",
    "check_disk",
    "least_work",
    "plan_chunks",
    "room_for_base",
    "spills",
    "store_growth",
]

MB = 2**20
DEFAULT_ACTIVATIONS = 48 * MB  # more rows a run do not make a step faster (docs/decisions.md)
DEFAULT_CACHE = 48 * MB  # prompt caches beyond it go to a file
DEFAULT_CONTEXT = 24 * MB  # keys and values that one run may read
ACTIVATIONS = 0.4  # of the memory that a bound leaves
WORK_MB = 80  # for activations and caches, when layers can make room by coming from storage
PAGE, LOCAL = 1024, 231  # bytes of a page, and of a row that stay in it; more go to other pages
FRAME, FULL = 1050, 1000  # bytes of a page in the write-ahead log, and pages after which it is full
TOUCHED = 12  # pages that the journal of one step may change, its own aside
RESERVE_MB = 12  # for Python's own objects and SQLite
_SIZES = ("ffn_width", "head_dim", "n_heads", "n_kv_heads", "vocab_size", "width")
SHORT = 64  # keys: what every budget must allow a row to attend to
COPIES = 2  # of a long prompt's keys and values: those that are kept, and those that a run reads
LEAST = 16  # tokens of a part of a long prompt; smaller ones would take all their time on reading


@dataclass(frozen=True)
class Budget:
    """Bounds on one `fit`; None leaves a bound to the defaults.

    seconds: wall-clock time; steps: zeroth-order steps; memory_mb: peak memory of the process;
    disk_mb: what the fit may add on disk, prompt caches that memory has no room for among it.
    """

    seconds: float | None = None
    steps: int | None = None
    memory_mb: float | None = None
    disk_mb: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that allow nothing."""
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"budget {name} is {value}, expected a number more than 0.")


@dataclass(frozen=True)
class Chunks:
    """What one run of the engine, and the prompt cache, may hold; all in bytes.

    activations: of a run. context: keys and values that a run may read. cache: of prompts, beyond
    which it goes to a file. probed, prefilled: what a row of a probe and a token of a prefill keep
    alive, and key: what each adds for every key it attends to.
    strict: the user set a bound, so what cannot fit is an error. disk: bytes that the cache's file
    may have, None for any number.
    """

    activations: int
    context: int
    cache: int
    probed: int
    prefilled: int
    key: int
    strict: bool = False
    disk: int | None = None

    def probe_rows(self, keys: int) -> int:
        """Rows (lanes x examples x R) that one probe may hold when each attends to so many keys."""
        return max(0, self.activations) // (self.probed + self.key * keys)

    def prefill_tokens(self, keys: int) -> int:
        """Prompt and response tokens that one prefill may hold."""
        return max(0, self.activations) // (self.prefilled + self.key * keys)


def room_for_base(memory_mb: float | None, least: float) -> float | None:
    """MB that a bound leaves for the base, before any of it is loaded; None without a bound.

    least: bytes that the work needs, `least_work`.
    """
    if memory_mb is None:
        return None
    return memory_mb - resident_mb() - RESERVE_MB - max(WORK_MB, least / MB)


def least_work(
    manifest: Manifest, full_head: bool, longest: int = 0, tail: int = 0, group: int | None = None
) -> float:
    """Bytes beside the base without which nothing runs; the arguments are those of `plan_chunks`.

    The longest prompt runs whole or in small parts, whichever needs less.
    """
    return max(
        _least_model(manifest, full_head), _least_prompt(manifest, full_head, longest, tail, group)
    )


def _least_model(manifest: Manifest, full_head: bool) -> float:
    """Of two rows of a probe, and of a short prompt."""
    probed, prefilled, key = _costs(manifest, full_head)
    return max(2 * (probed + key * SHORT), SHORT * (prefilled + key * SHORT)) / ACTIVATIONS


def _least_prompt(
    manifest: Manifest, full_head: bool, longest: int, tail: int, group: int | None
) -> float:
    """Of the longest prompt with the longest response."""
    _, prefilled, key = _costs(manifest, full_head)
    whole = (longest + tail) * (prefilled + key * (longest + tail))
    part = (LEAST + tail) * (prefilled + key * (_seen(longest, group) + tail))
    return min(whole / ACTIVATIONS, part / ACTIVATIONS + _held(manifest, longest, group))


def _seen(longest: int, group: int | None) -> int:
    """Tokens of the longest prompt that a run attends to."""
    return min(longest, group or longest)


def _held(manifest: Manifest, longest: int, group: int | None) -> int:
    """Bytes of keys and values while the longest prompt runs in parts."""
    return longest * _token_bytes(manifest) * (COPIES if group is None else 1)


def store_growth(steps: int, numbers: int, width: int, examples: int, content: int = 0) -> int:
    """Bytes that a fit adds to a store at most, its write-ahead log among them.

    A bound that holds whatever the data; `rehearse` tells what is likely.
    numbers: of the adapter; a version has no more than their bytes. width: scalars of a step.
    examples: 8 bytes an id. content: bytes of examples that are kept.
    """
    row = 4 * (width + 1) + 64
    beyond = -(-max(0, row - LOCAL) // (PAGE - 4))
    # A tree's pages are a third full at least.
    rows = steps * (3 * min(row, LOCAL) + PAGE * beyond)
    kept = 4 * numbers + rows + 8 * examples + 3 * content
    log = FRAME * min(FULL, 2 * TOUCHED + steps * (TOUCHED + beyond))
    return int(2.1 * kept) + log + 8 * PAGE  # all of it once in the log, once in the database


def spills(size: int, chunks: Chunks) -> bool:
    """Whether a prompt cache of so many bytes goes to a file.

    Raises BudgetError when neither memory nor the disk allowed has room.
    """
    if size <= chunks.cache:
        return False
    if chunks.disk is None or size <= chunks.disk:
        return True
    if chunks.strict:
        raise BudgetError(
            f"the prompt cache needs {size / MB:.0f} MB; memory_mb leaves {chunks.cache / MB:.0f} "
            f"of them and disk_mb {chunks.disk / MB:.0f}: raise one, or give fewer examples."
        )
    return False  # memory has no bound of its own


def check_disk(folder: Path | None, size: int) -> None:
    """Raise BudgetError when a file of so many bytes would not fit where a fit puts it."""
    where = tempfile.gettempdir() if folder is None else folder
    free = shutil.disk_usage(where).free if size else size
    if size > free:
        raise BudgetError(
            f"the prompt cache needs {size / MB:.0f} MB of disk, and {where} has {free / MB:.0f}: "
            "free some space, raise memory_mb, or give fewer examples."
        )


def plan_chunks(
    manifest: Manifest,
    budget: Budget,
    full_head: bool,
    loaded_mb: float = 0,
    growth: int = 0,
    longest: int = 0,
    group: int | None = None,
    tail: int = 0,
) -> Chunks:
    """Split the memory left over between activations, what they read, and the prompt cache.

    growth: bytes that the store will take of the disk allowed.
    loaded_mb: what the engine will hold besides, once its largest method is loaded.
    full_head: probes compute logits over the whole vocabulary.
    longest: tokens of the longest prompt. group: of the sparse attention that it is run by, if any.
    tail: tokens of the longest response.
    Raises BudgetError when not even one row fits, or the longest prompt does not in small parts.
    """
    memory_mb, disk = budget.memory_mb, _disk(budget, growth)
    if memory_mb is None:
        bytes_ = (DEFAULT_ACTIVATIONS, DEFAULT_CONTEXT, DEFAULT_CACHE)
        return Chunks(*bytes_, *_costs(manifest, full_head), disk=disk)
    needed = resident_mb() + loaded_mb + RESERVE_MB
    spare = (memory_mb - needed) * MB
    least = least_work(manifest, full_head, longest, tail, group)
    if spare < least:
        is_model = least <= _least_model(manifest, full_head)
        long = None if is_model else ("prompt", longest) if longest >= tail else ("response", tail)
        raise _too_little(memory_mb, needed + least / MB, long)
    chunks = _shared_out(spare, manifest, full_head, disk)
    if longest <= chunks.prefill_tokens(longest):
        return chunks
    return _shared_out(spare - _held(manifest, longest, group), manifest, full_head, disk)


def _too_little(memory_mb: float, needed: float, long: tuple[str, int] | None) -> BudgetError:
    """long: what needs so many MB, and its tokens; None where any work of the model does."""
    who = f"a {long[0]} of {long[1]} tokens" if long else "this model"
    less = f"shorten the {long[0]}" if long else "export a smaller model"
    return BudgetError(
        f"memory_mb is {memory_mb:.0f}, but {who} needs about {ceil(needed)} MB: raise memory_mb "
        f"or {less}."
    )


def _shared_out(spare: float, manifest: Manifest, full_head: bool, disk: int | None) -> Chunks:
    """Bytes shared out; the rest is for the engine's arena, which grows by doubling."""
    shares = (int(spare * ACTIVATIONS), int(spare * 0.1), int(spare * 0.15))
    return Chunks(*shares, *_costs(manifest, full_head), strict=True, disk=disk)


def _token_bytes(manifest: Manifest) -> int:
    """Of the keys and values of all layers in float16, for a token."""
    d = manifest.decoder
    return 4 * manifest.n_layers * int(d["n_kv_heads"]) * int(d["head_dim"])


def _disk(budget: Budget, growth: int) -> int | None:
    """Bytes that prompt caches may take on disk."""
    if budget.disk_mb is None:
        return None
    left = int(budget.disk_mb * MB) - growth
    if left < 0:
        raise BudgetError(
            f"disk_mb is {budget.disk_mb:g}, but a fit of so many steps adds up to "
            f"{growth / MB:.1f} MB to the store: raise it, or run fewer steps."
        )
    return left


def _costs(manifest: Manifest, full_head: bool) -> tuple[int, int, int]:
    """`probed`, `prefilled` and `key` of `Chunks`, from the widest point of a layer in float32."""
    d = {name: int(manifest.decoder[name]) for name in _SIZES}
    heads = (d["n_heads"] + 2 * d["n_kv_heads"]) * d["head_dim"]
    row = 4 * (4 * d["ffn_width"] + 4 * d["width"] + 2 * heads)
    # A prefill also returns the keys and values of all its layers, in float32 and float16.
    caches = 6 * 2 * manifest.n_layers * d["n_kv_heads"] * d["head_dim"]
    logits = 3 * 4 * d["vocab_size"] if full_head else 0
    return row + logits, row + caches, 2 * 4 * d["n_heads"]
