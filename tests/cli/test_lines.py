"""Reading the standard input without waiting for it."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from securerelay.cli import lines
from securerelay.cli.exits import Failure
from securerelay.cli.lines import Input


class Turns:
    """The part of a reactor that takes calls from threads; they run when a test waits for them."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        self.calls.put(lambda: function(*arguments))

    def finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        while not results:
            self.calls.get(timeout=60)()
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_lines_come_one_by_one_without_their_ends(pipe: tuple[int, int]):
    reactor = Turns()
    source = Input(reactor, pipe[0])
    os.write(pipe[1], b"one\ntwo\n\nlast")
    os.close(pipe[1])
    read = [reactor.finish(source.line()) for _ in range(6)]
    assert read == [b"one", b"two", b"", b"last", None, None]


def test_a_line_may_come_in_pieces(pipe: tuple[int, int]):
    reactor = Turns()
    source = Input(reactor, pipe[0])
    got: list[Any] = []
    Deferred.fromCoroutine(source.line()).addCallback(got.append)
    os.write(pipe[1], b"he")
    reactor.calls.get(timeout=60)()
    assert got == []
    os.write(pipe[1], b"llo\n")
    reactor.calls.get(timeout=60)()
    assert got == [b"hello"]


def test_a_file_is_read_like_a_pipe(tmp_path: Path):
    path = tmp_path / "message"
    path.write_bytes(b"x" * 200_000 + b"\nend")
    descriptor = os.open(path, os.O_RDONLY)
    reactor = Turns()
    try:
        source = Input(reactor, descriptor)
        assert reactor.finish(source.line()) == b"x" * 200_000
        assert reactor.finish(source.line()) == b"end"
    finally:
        os.close(descriptor)


def test_a_closed_input_is_an_empty_one(pipe: tuple[int, int]):
    os.close(pipe[0])
    reactor = Turns()
    source = Input(reactor, pipe[0])
    assert reactor.finish(source.line()) is None


def test_a_cancelled_wait_loses_no_line(pipe: tuple[int, int]):
    reactor = Turns()
    source = Input(reactor, pipe[0])
    waiting = Deferred.fromCoroutine(source.line())
    waiting.addErrback(lambda failure: failure.trap(CancelledError))
    waiting.cancel()
    os.write(pipe[1], b"kept\n")
    assert reactor.finish(source.line()) == b"kept"


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lines, "LONGEST", 100)
    reactor = Turns()
    os.write(pipe[1], b"x" * 1000)
    with pytest.raises(Failure, match="longer than 100 bytes"):
        reactor.finish(Input(reactor, pipe[0]).line())
