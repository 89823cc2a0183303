"""What the load generator makes of frames that come in pieces: it counts each message once."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from benchmarks.compare.broker import Client
from benchmarks.compare.mosquitto import MqttClient, _frame, _text
from benchmarks.compare.nats import NatsClient

CUTS = [(1, 1), (40, 1), (40, 3), (40, 50), (40, 1000), (300, 7), (20_000, 4999)]
"""Bytes of a body, and of what comes at a time."""


class _Fed(Client):
    """A client that is fed instead of reading a socket."""

    def __init__(self, said: bytes, step: int) -> None:
        Client.__init__(self, b"p0", 1)
        self.buffer = bytearray()
        self.socket: Any = Mock()
        self.pieces = [said[first : first + step] for first in range(0, len(said), step)]

    def receive(self) -> None:
        self.buffer += self.pieces.pop(0)

    def take_all(self) -> int:
        return sum(self.take() for _ in range(len(self.pieces)))

    @property
    def answered(self) -> bytes:
        return b"".join(call.args[0] for call in self.socket.sendall.call_args_list)


class FedMqtt(_Fed, MqttClient):
    pass


class FedNats(_Fed, NatsClient):
    pass


@pytest.mark.parametrize(("size", "step"), CUTS)
def test_mqtt(size: int, step: int) -> None:
    live = _frame(0x30, _text(b"p0") + b"x" * size)
    kept = [_frame(0x32, _text(b"p0") + bytes((0, seq)) + b"x" * size) for seq in (8, 9)]
    client = FedMqtt(live * 2 + kept[0] + b"\x40\x02\0\1" + kept[1] + b"\x40\x02\0\2", step)
    assert client.take_all() == 4
    assert client.settled == 2
    assert client.answered == b"\x40\x02\0\x08\x40\x02\0\x09"
    assert not client.buffer


@pytest.mark.parametrize(("size", "step"), CUTS)
def test_nats(size: int, step: int) -> None:
    body = b"%d\r\n%b\r\n" % (size, b"x" * size)
    live = b"MSG p0 1 " + body
    client = FedNats(live * 2 + b"PING\r\n" + b'MSG ok.p0 2 9\r\n{"seq":1}\r\n' + live, step)
    assert client.take_all() == 3
    assert client.settled == 1
    assert client.answered == b"PONG\r\n"
    assert not client.buffer


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_consumer_acknowledges_up_to_the_last_message_that_is_whole(step: int) -> None:
    said = b"".join(b"MSG kept.p0 1 $JS.ACK.%d 2\r\nxx\r\n" % number for number in range(3))
    client = FedNats(said, step)
    client._kept = True
    assert client.take_all() == 3
    assert client.answered.endswith(b"PUB $JS.ACK.2 4\r\n+ACK\r\n")


def test_who_is_refused_by_jetstream_ends_the_run() -> None:
    client = FedNats(b'MSG ok.p0 2 21\r\n{"error":{"code":503}}\r\n', 1000)
    with pytest.raises(SystemExit, match="503"):
        client.take()
