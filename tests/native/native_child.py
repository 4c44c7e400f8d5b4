"""A process of its own for libdsa_runner, whose ExecuTorch stays apart from Python's.

    python native_child.py libdsa_runner.so BUNDLE [STORE]

Reads one JSON object a line, answers with one each: {"text"} or {"status", "error"}.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


class Open(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("store", ctypes.c_char_p), ("threads", ctypes.c_int32),
        ("skip_hashes", ctypes.c_int32), ("layers_kept", ctypes.c_int32),
        ("key", ctypes.c_void_p), ("key_context", ctypes.c_void_p),
    )  # fmt: skip


class Examples(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("lines", ctypes.c_char_p), ("path", ctypes.c_char_p),
        ("template_text", ctypes.c_char_p), ("labels", ctypes.c_void_p),
        ("label_count", ctypes.c_size_t),
    )  # fmt: skip


class Progress(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("phase", ctypes.c_int), ("done", ctypes.c_int64),
        ("total", ctypes.c_int64), ("loss", ctypes.c_double), ("held_out_loss", ctypes.c_double),
        ("held_out_accuracy", ctypes.c_double), ("seconds", ctypes.c_double),
        ("tokens", ctypes.c_int64), ("reason", ctypes.c_char_p),
    )  # fmt: skip


class Fit(ctypes.Structure):  # its beginning: what an app built against an older header has
    _fields_ = (
        ("size", ctypes.c_size_t), ("seconds", ctypes.c_double), ("steps", ctypes.c_int64),
        ("memory_mb", ctypes.c_double), ("disk_mb", ctypes.c_double),
        ("hyperparameters", ctypes.c_char_p), ("seed", ctypes.c_uint64),
    )  # fmt: skip


class Privacy(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("epsilon", ctypes.c_double), ("delta", ctypes.c_double),
        ("batch", ctypes.c_int64),
    )  # fmt: skip


class PrivateFit(ctypes.Structure):  # all of it
    _fields_ = (
        *Fit._fields_,
        ("remember", ctypes.c_int32), ("replay", ctypes.c_int32), ("condition", ctypes.c_void_p),
        ("condition_context", ctypes.c_void_p), ("charging", ctypes.c_int32),
        ("battery", ctypes.c_double), ("celsius", ctypes.c_double), ("idle", ctypes.c_double),
        ("check_seconds", ctypes.c_double), ("privacy", ctypes.POINTER(Privacy)),
    )  # fmt: skip


class Use(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t), ("version", ctypes.c_int32), ("memory_mb", ctypes.c_double),
    )  # fmt: skip


Listener = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(Progress))
STEPS = 1  # the phase of a step that is done


class Child:
    """The library, and a bundle that it has opened."""

    def __init__(self, library: str, bundle: str, store: str | None) -> None:
        self.c = ctypes.CDLL(library)
        self.c.dsa_last_error.restype = ctypes.c_char_p
        self.c.dsa_free.argtypes = [ctypes.c_void_p]
        self.runner = ctypes.c_void_p()
        place = None if store is None else store.encode()
        options = Open(ctypes.sizeof(Open), place, 1, 0, 0, None, None)
        status = self.c.dsa_open(bundle.encode(), ctypes.byref(options), ctypes.byref(self.runner))
        if status:
            raise SystemExit(self.c.dsa_last_error().decode())

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["call"] == "dsa_choose_with":
            return self._choose(asked)
        out = ctypes.c_void_p()
        given = [bytes.fromhex(text) for text in asked.get("texts", ())]
        call = getattr(self.c, asked["call"])
        steps: list[int] = []
        if asked["call"] == "dsa_fit":
            kept = self._fit(asked, steps)
            status = call(self.runner, *kept, ctypes.byref(out))
        else:
            runner = None if asked.get("null") else self.runner
            status = call(runner, *given, ctypes.byref(out))
        if status:
            return {"status": status, "error": self.c.dsa_last_error().decode()}
        text = ctypes.string_at(out.value or 0).decode()
        self.c.dsa_free(out)
        return {"text": text, "steps": steps}

    def _fit(self, asked: dict[str, Any], steps: list[int]) -> tuple[Any, ...]:
        """Arguments of a fit that is ended by its listener after `stop_after` steps."""

        def listen(_: Any, progress: Any) -> int:
            if progress.contents.phase == STEPS:
                steps.append(progress.contents.done)
            return int(0 < asked["stop_after"] <= len(steps))

        lines = asked["lines"].encode()
        examples = Examples(ctypes.sizeof(Examples), lines, None, None, None, 0)
        hyper = json.dumps(asked["hyper"]).encode()
        shape = Fit if asked["privacy"] is None else PrivateFit
        options = shape(ctypes.sizeof(shape), 0, asked["steps"], 0, 0, hyper, 0)
        if asked["privacy"] is not None:
            epsilon, delta, batch = asked["privacy"]
            privacy = Privacy(ctypes.sizeof(Privacy), epsilon, delta, batch)
            options.privacy = ctypes.pointer(privacy)
        return ctypes.byref(examples), ctypes.byref(options), Listener(listen), None

    def _choose(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Probabilities, with options of a size: an app's that was built against a header of it."""
        choices = [text.encode() for text in asked["choices"]]
        told = (ctypes.c_char_p * len(choices))(*choices)
        options = Use(asked.get("size", ctypes.sizeof(Use)), -1, asked["memory_mb"])
        index, shares = ctypes.c_int32(), (ctypes.c_double * len(choices))()
        status = self.c.dsa_choose_with(
            self.runner, asked["prompt"].encode(), told, ctypes.c_size_t(len(choices)),
            ctypes.byref(options), ctypes.byref(index), shares,
        )  # fmt: skip
        if status:
            return {"status": status, "error": self.c.dsa_last_error().decode()}
        return {"index": index.value, "probabilities": list(shares)}

    def nothing(self) -> list[int]:
        """What calls with nothing at all answer; those that cannot fail are made as well."""
        self.c.dsa_close(None)
        self.c.dsa_free(None)
        self.c.dsa_stop(None)
        made = ctypes.c_void_p()
        return [self.c.dsa_open(None, None, ctypes.byref(made)), self.c.dsa_info(None, None)]


def main() -> None:
    child = Child(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
    print("open", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        made = {"text": child.nothing()} if asked["call"] == "nothing" else child.answer(asked)
        print(json.dumps(made), flush=True)
    child.c.dsa_close(child.runner)


if __name__ == "__main__":
    main()
