"""What loads a broker from a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.compare.broker import Client
from benchmarks.compare.patterns import Receiving

# The process that runs the tests has threads, of which the child has and needs none.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Scripted(Client):
    """A client to whom so many messages come each time, and whose connection then ends."""

    def __init__(self, come: list[int]) -> None:
        super().__init__(b"bob", 1)
        self._come: Iterator[int] = iter(come)

    def listen(self, room: bytes = b"", *, kept: bool = False) -> None:
        """Nothing to do."""

    def send(self, to: bytes, count: int, *, kept: bool = False) -> None:
        """Nothing to do."""

    def take(self) -> int:
        """See :meth:`Client.take`."""
        for count in self._come:
            return count
        raise SystemExit("the broker ended a connection")


def test_a_receiver_in_a_process_of_its_own_is_heard_of_and_ended() -> None:
    with Receiving(Scripted([3, 0, 4])) as received:
        received.wait(7)
        assert received.arrived == 7
        with pytest.raises(SystemExit, match="ended"):
            received.wait(8)
    with pytest.raises(ProcessLookupError):
        os.kill(received.pid, 0)


def test_a_receiver_that_still_listens_ends_with_its_context() -> None:
    with Receiving(Scripted([1] * 10**6)) as received:
        received.wait(1000)
    with pytest.raises(ProcessLookupError):
        os.kill(received.pid, 0)
