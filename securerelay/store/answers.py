"""Answers of a store that has them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute

from securerelay.store.interface import StorageStopped

P = ParamSpec("P")
T = TypeVar("T")


class _Openable(Protocol):
    is_open: bool


S = TypeVar("S", bound=_Openable)


def answered(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """Make a method answer with a Deferred that has fired already.

    Args:
        method: of a class with an attribute ``is_open``; what it raises becomes the failure.

    Returns:
        The method; of a store that is not open it fails with ``StorageStopped``.
    """

    @functools.wraps(method)
    def answer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        def run() -> T:
            if not self.is_open:
                raise StorageStopped("the store is closed")
            return method(self, *args, **kwargs)

        return execute(run)

    return answer
