"""Strangers at a port inside TLS: those who do not speak it, and those who speak nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time

import pytest

from tests.end_to_end.daemon import wait_until
from tests.hostile import independent as sr1
from tests.hostile.siege import Siege, err, everything

CONFIGURATION = """
[tls]
listen = ["tcp:0:interface=127.0.0.1"]
"""


def plain(siege: Siege) -> socket.socket:
    """A connection to the port inside TLS, which has not said anything."""
    told = str(siege.daemon.admin("status")["listen"])
    found = re.search(r"port (\d+) in TLS", told)
    assert found is not None, told
    return siege.connect(port=int(found[1]))


def inside(siege: Siege) -> ssl.SSLSocket:
    """The same, inside TLS; who answers there is for SR1 to prove."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain(siege))


def test_a_peer_gets_in_through_tls(siege: Siege) -> None:
    client = sr1.Client(siege.relay_id, siege.canary.credential).attach(inside(siege))
    client.handshake()
    client.send(sr1.encode("PING", "here"))
    assert client.receive() == sr1.Message("PONG", ("here",))
    client.close()


CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(509)


@pytest.mark.parametrize(
    "said",
    [
        b"SR1 HELLO\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\n" * (1 << 20),
        CLIENT_HELLO,
        CLIENT_HELLO[:100],
        b"\x16\x03\x01\xff\xff" + os.urandom(1 << 16),
        b"\x17\x03\x03\x00\x10" + os.urandom(16),
        os.urandom(5000),
    ],
    ids=range(8),
)
def test_who_does_not_speak_tls_hears_no_sr1(siege: Siege, said: bytes) -> None:
    with plain(siege) as wire:
        with contextlib.suppress(OSError):  # the relay may be done with us before we are
            wire.sendall(said)
            wire.shutdown(socket.SHUT_WR)
        assert b"SR1" not in everything(wire)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"noise\n", "bad-line"),
        (b"\xff" * 5000, "bad-line"),
        (b"\n" * 100_000, "bad-line"),
        (b"a" * 5000, "too-long"),
        (b"SR1 AUTH AAAA\n", "protocol"),
    ],
)
def test_inside_tls_noise_gets_the_line_that_it_gets_elsewhere(
    siege: Siege, said: bytes, code: str
) -> None:
    with inside(siege) as wire:
        wire.sendall(said)
        assert everything(wire, 1) == err(code)


def test_slowness_inside_and_before_tls_has_the_deadlines_of_all_strangers(siege: Siege) -> None:
    begun = time.monotonic()
    silent, dripping, secured = plain(siege), plain(siege), inside(siege)
    with silent, dripping, secured:
        for at in range(200):
            try:
                dripping.sendall(CLIENT_HELLO[at : at + 1])
            except ConnectionError:
                break
            siege.round_trip()
            time.sleep(0.2)
        else:
            raise AssertionError("bytes bought time")
        assert everything(silent) == b""
        assert everything(secured) == err("timeout")
    assert time.monotonic() - begun >= 4.5


def test_crowds_before_and_inside_tls_leave_nothing(siege: Siege) -> None:
    crowd = [plain(siege) for _ in range(60)] + [inside(siege) for _ in range(20)]
    for wire in crowd[::2]:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for wire in crowd:
        wire.close()
    wait_until(lambda: siege.daemon.admin("status")["unauthenticated"] == 0, "all are gone")
