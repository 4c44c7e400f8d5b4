"""One engine for several threads: one call after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any, cast

from dsa_edge.runtime._engine import Engine

__all__ = ["one_at_a_time"]


def one_at_a_time(engine: Engine) -> Engine:
    """The same engine, whose calls wait for each other: each takes all cores anyway.

    A method that one user frees between two calls of another is loaded again, as for one user.
    """
    return cast(Engine, _OneAtATime(engine))


class _OneAtATime:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, RLock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*given: Any) -> Any:
            with self._lock:
                return method(*given)

        return call
