"""Crowds of strangers: idle, reset, noisy or with valid knocks; an enrolled peer gets through."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.daemon import PATIENCE, wait_until
from tests.hostile import independent as sr1
from tests.hostile.siege import Siege, err, everything

BEFORE_AUTHENTICATION = 16 << 20
"""Bytes that all strangers together may make the relay hold."""


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """The test itself holds as many connections as the relay."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def reset(wire: socket.socket) -> None:
    """Close without any politeness."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()


def gets_in(siege: Siege) -> int:
    """Enter as the canary would: again and again, for some are dropped by chance; returns tries."""
    deadline = time.monotonic() + PATIENCE
    tries = 0
    while True:
        tries += 1
        assert time.monotonic() < deadline, "an enrolled peer never got in"
        try:
            client = siege.enter(siege.canary)
        except (OSError, sr1.Told):
            time.sleep(0.05)
            continue
        client.send(sr1.encode("PING", "in"))
        assert client.receive() == sr1.Message("PONG", ("in",))
        client.close()
        return tries


def hello(siege: Siege) -> bytes:
    return sr1.ClientHandshake(siege.relay_id, siege.canary.credential).hello()


def test_five_hundred_idle_strangers_do_not_keep_a_peer_out(siege: Siege) -> None:
    """More than half the places are taken: those who do not show that they know the relay go."""
    before = siege.memory()
    crowd = [siege.connect() for _ in range(700)]
    for wire in crowd:
        with contextlib.suppress(ConnectionError):
            wire.sendall(hello(siege)[:1500])
    siege.round_trip()
    assert siege.daemon.admin("status")["unauthenticated"] <= 512
    assert siege.daemon.admin("status")["refused"] > 0
    assert gets_in(siege) == 1
    assert siege.memory() - before < BEFORE_AUTHENTICATION
    for wire in crowd:
        wire.close()
    wait_until(lambda: siege.daemon.admin("status")["unauthenticated"] == 0, "all are gone")


def test_one_source_has_sixteen_places(siege: Siege) -> None:
    source = siege.source()
    crowd, dropped = [], 0
    for _ in range(20):
        try:
            crowd.append(siege.connect(source))
        except ConnectionResetError:  # dropped faster than this end knew that it was connected
            dropped += 1
    siege.round_trip()
    for wire in crowd:
        wire.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert everything(wire) == b""
            dropped += 1
    assert dropped == 4
    gets_in(siege)
    for wire in crowd:
        wire.close()


def test_thousands_of_connections_that_are_reset_leave_nothing(siege: Siege) -> None:
    for n in range(2000):
        wire = siege.connect()
        if n % 2:
            with contextlib.suppress(ConnectionError):
                wire.sendall(b"SR1 HELLO suites=")
        reset(wire)
        if n % 200 == 0:
            siege.round_trip()
    gets_in(siege)


def test_connections_that_are_reset_in_the_middle_of_a_handshake_leave_nothing(
    siege: Siege,
) -> None:
    """The relay is busy with each when it is gone: the share is computed, the thread signs."""
    for _ in range(100):
        wire = siege.connect()
        wire.sendall(hello(siege))
        reset(wire)
    gets_in(siege)
    for _ in range(50):
        wire = siege.connect()
        wire.sendall(hello(siege))
        everything(wire, 1)
        reset(wire)
    gets_in(siege)


def test_thousands_of_lines_without_a_knock_get_one_answer_each(siege: Siege) -> None:
    line = sr1.ClientHandshake(bytes(32), siege.canary.credential).hello()
    answers = set()
    for n in range(2000):
        answers.add(siege.say(line, lines=1))
        if n % 200 == 0:
            siege.round_trip()
    assert answers == {err("bad-line")}
    gets_in(siege)


def test_a_source_that_fails_again_and_again_is_shut_out_and_can_be_let_in(siege: Siege) -> None:
    source = siege.source()
    answers = [siege.say(b"noise\n", source=source) for _ in range(8)]
    assert answers[0] == err("bad-line")
    assert answers[-1] == b""  # dropped without a word, and a line in the log
    assert answers == sorted(answers, reverse=True)  # never let in again in between
    shut_out = siege.daemon.admin("penalties")["penalties"]
    assert source in [one["source"] for one in shut_out]
    gets_in(siege)
    assert siege.daemon.admin("penalties", lift=source)["lifted"] == 1
    assert siege.say(b"noise\n", source=source) == err("bad-line")


def test_handshakes_that_are_never_finished_do_not_keep_a_peer_out(siege: Siege) -> None:
    """With the relay id anybody can make the relay work; it works for them at a bounded rate."""
    lines = [hello(siege) for _ in range(300)]
    crowd = []
    for line in lines:
        wire = siege.connect()
        with contextlib.suppress(ConnectionError):
            wire.sendall(line)
        crowd.append(wire)
    siege.round_trip()
    gets_in(siege)
    for wire in crowd:
        wire.close()


def test_a_knock_that_is_played_back_thousands_of_times_opens_nothing(siege: Siege) -> None:
    line = hello(siege)
    assert siege.say(line, lines=2).startswith(b"SR1 HELLO ")
    assert {siege.say(line, lines=1) for _ in range(1000)} == {err("bad-line")}


def test_noise_from_a_hundred_places_at_once_is_answered_in_one_way(siege: Siege) -> None:
    chance = random.Random(7)
    crowd = [siege.connect() for _ in range(100)]
    for wire in crowd:
        wire.sendall(b"\n" + chance.randbytes(chance.randrange(1, 5000)))
    assert {everything(wire) for wire in crowd} <= {err("bad-line"), b""}
    for wire in crowd:
        wire.close()


def test_a_relay_without_descriptors_goes_on_with_the_sessions_it_has(siege: Siege) -> None:
    """The limit is taken away from under it; what it cannot accept waits or is dropped."""
    siege.extra.add("twisted")  # Twisted warns that it could not accept; bounded by the log
    limits = resource.prlimit(siege.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(siege.pid, resource.RLIMIT_NOFILE, (siege.descriptors() + 5, limits[1]))
    try:
        crowd = [siege.connect() for _ in range(60)]
        for _ in range(10):
            siege.round_trip()
            time.sleep(0.05)
        for wire in crowd:
            wire.close()
    finally:
        resource.prlimit(siege.pid, resource.RLIMIT_NOFILE, limits)
    gets_in(siege)
