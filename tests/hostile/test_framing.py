"""What strangers write: noise, other protocols, lines too long, too slow or malformed."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time

import pytest

from tests.end_to_end.daemon import PATIENCE
from tests.hostile import independent as sr1
from tests.hostile.siege import Siege, err, everything


def hello(siege: Siege) -> bytes:
    """A first line that the relay would answer."""
    return sr1.ClientHandshake(siege.relay_id, sr1.Credential(b"", lambda *_: b"")).hello()


def knocked(siege: Siege, front: bytes) -> bytes:
    """A line with a knock that fits it, whatever it says."""
    return front + b" to=" + sr1.b64(sr1.knock(siege.relay_id, front)).encode() + b"\n"


def test_noise_of_every_length_is_a_bad_line_or_nothing(siege: Siege) -> None:
    for length in range(65):
        noise = os.urandom(length)
        end = next((byte for byte in noise if not 0x20 <= byte < 0x7F), None)
        assert siege.say(noise) == (b"" if end is None else err("bad-line"))


def test_noise_that_ends_a_line_is_a_bad_line(siege: Siege) -> None:
    chance = random.Random(1)
    for length in range(65):
        assert siege.say(bytes(chance.choices(range(0x20, 0x7F), k=length)) + b"\n") == err(
            "bad-line"
        )


FOREIGN = {
    "TLS 1.3": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
    "TLS 1.0": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: relay.example.org\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP POST of lines": b"POST / HTTP/1.1\nHost: x\n\nSR1 HELLO\n",
    "PROXY 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
    "PROXY 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    "SMTP": b"EHLO stranger.example.org\r\n",
    "SMB": b"\0\0\0\x85\xffSMBr\0\0\0\0\x18\x53\xc8" + bytes(100),
    "RDP": b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0",
    "MQTT": b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "SOCKS 5": b"\x05\x01\0",
    "NATS": b'CONNECT {"verbose":false}\r\nPING\r\n',
    "Telnet": b"\xff\xfd\x18\xff\xfd\x20",
    "another version": b"SR2 HELLO\n",
    "lower case": b"sr1 hello\n",
    "a record": b"\x01\x10" + os.urandom(272),
    "a session message": b"SEND 1 bob - - 5\nhello",
    "UTF-16": "SR1 HELLO\n".encode("utf-16"),
}


@pytest.mark.parametrize("protocol", FOREIGN)
def test_another_protocol_is_a_bad_line(siege: Siege, protocol: str) -> None:
    assert siege.say(FOREIGN[protocol]) == err("bad-line")


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("a CR", b"\n", b"\r\n"),
        ("a CR within", b" nonce", b"\r nonce"),
        ("a NUL", b" nonce", b"\0 nonce"),
        ("a NUL at the end", b"\n", b"\0\n"),
        ("a high byte", b" nonce", b"\xe9 nonce"),
        ("DEL", b" nonce", b"\x7f nonce"),
        ("a tab", b" nonce", b"\tnonce"),
        ("two spaces", b" nonce", b"  nonce"),
        ("a space before", b"SR1", b" SR1"),
        ("a space after", b"\n", b" \n"),
        ("no field", b"SR1 HELLO", b"SR1 HELLO "),
        ("padding of base64", b" share", b"= share"),
        ("capitals", b"suites=", b"SUITES="),
        ("a field twice", b" nonce=", b" nonce=AAAA nonce="),
        ("an empty field", b"suites=aes256gcm,", b"suites=,"),
        ("the fields the other way round", b"suites", b"groups"),
        ("an unknown field", b" nonce=", b" extra=1 nonce="),
        ("a name twice", b"suites=aes256gcm", b"suites=aes256gcm,aes256gcm"),
        ("nine names", b"suites=aes256gcm", b"suites=a,b,c,d,e,f,g,h"),
        ("a long name", b"suites=aes256gcm", b"suites=" + b"a" * 33),
        ("base64 of the other alphabet", b" nonce=", b" nonce=+/"),
    ],
)
def test_a_hello_with_anything_odd_in_it_is_a_bad_line(
    siege: Siege, what: str, old: bytes, new: bytes
) -> None:
    honest = hello(siege)
    front = honest.partition(b" to=")[0]
    if b"\n" in old:
        assert siege.say(honest.replace(old, new, 1)) == err("bad-line")
    else:
        assert old in front
        assert siege.say(knocked(siege, front.replace(old, new, 1))) == err("bad-line")
        assert siege.say(honest.replace(old, new, 1)) == err("bad-line")


def test_a_knock_is_asked_for_before_anything_else(siege: Siege) -> None:
    stranger = sr1.ClientHandshake(bytes(32), sr1.Credential(b"", lambda *_: b"")).hello()
    honest = hello(siege)
    assert siege.say(stranger) == err("bad-line")
    assert siege.say(honest.replace(b" to=", b" to=A", 1)) == err("bad-line")
    assert siege.say(honest.partition(b" to=")[0] + b"\n") == err("bad-line")
    assert siege.say(honest[:-1] + b"AA\n") == err("bad-line")
    wrong = b"A" if honest[-3:-2] != b"A" else b"Q"
    assert siege.say(honest[:-3] + wrong + honest[-2:]) == err("bad-line")
    assert siege.say(honest, lines=2).startswith(b"SR1 HELLO ")


def test_thousands_of_fields_are_a_bad_line(siege: Siege) -> None:
    for line in (
        b"SR1 HELLO" + b" a=1" * 1000,
        b"SR1 HELLO" + b" suites=a" * 400,
        b"SR1 HELLO" + b" " * 4000,
        b"SR1 HELLO suites=" + b"a," * 2000,
        b"SR1 HELLO" + b" to=" * 1000,
    ):
        assert siege.say(line + b"\n") == err("bad-line")
        assert siege.say(knocked(siege, line)) == err("bad-line")


def at_the_limit(siege: Siege, size: int) -> bytes:
    """A line of so many bytes with a good knock and a share that no group has."""
    front = hello(siege).partition(b" share=")[0] + b" share=x25519mlkem768:"
    front += b"A" * (size - len(front) - len(b" to=\n") - 22)
    line = knocked(siege, front)
    assert len(line) == size
    return line


def test_the_longest_line_is_read_whole_and_one_byte_more_is_not(siege: Siege) -> None:
    # Of four lengths in a row one is no length of base64.
    answers = [siege.say(at_the_limit(siege, size)) for size in range(4125, 4129)]
    assert sorted(answers) == sorted([err("bad-line"), *[err("bad-share")] * 3])
    assert siege.say(at_the_limit(siege, 4129)) == err("too-long")
    assert siege.say(b"a" * 4127 + b"\n") == err("bad-line")
    assert siege.say(b"a" * 4128 + b"\n") == err("too-long")


def test_where_a_line_is_cut_makes_no_difference(siege: Siege) -> None:
    allowed, beyond = b"a" * 4127 + b"\n", b"a" * 4128 + b"\n"
    for at in (*range(1, 8), *range(8, 4120, 97), *range(4120, 4128)):
        assert siege.say(allowed[:at], allowed[at:]) == err("bad-line")
        assert siege.say(beyond[:at], beyond[at:]) == err("too-long")


def test_a_hello_byte_by_byte_is_as_good_as_any(siege: Siege) -> None:
    line = hello(siege)
    segments = [line[at : at + 1] for at in range(len(line))]
    assert siege.say(*segments, lines=2).startswith(b"SR1 HELLO ")


def flood(siege: Siege, piece: bytes, pieces: int) -> bytes:
    """Write as much as the relay takes, up to so many pieces, and read what it says."""
    with siege.connect() as wire:
        with contextlib.suppress(ConnectionError):
            for _ in range(pieces):
                wire.sendall(piece)
        return everything(wire)


@pytest.mark.parametrize("filling", [b"a", b"SR1 HELLO suites=a ", b"\n", b"\r\n", b"\0", b" "])
def test_megabytes_get_one_line_and_are_thrown_away(siege: Siege, filling: bytes) -> None:
    piece = (filling * (1 << 20))[: 1 << 20]
    code = "too-long" if filling in (b"a", b"SR1 HELLO suites=a ", b" ") else "bad-line"
    # The answer may be lost with the connection when it is cut under our hands.
    assert flood(siege, piece, 64) in (err(code), b"")
    siege.round_trip()


def test_who_is_slow_is_told_so_and_bytes_do_not_buy_time(siege: Siege) -> None:
    """Four kinds of slowness side by side, and a canary that notices none of it."""
    line = hello(siege)
    begun = time.monotonic()
    wires = {name: siege.connect() for name in ("silent", "drip", "hello", "half")}
    wires["hello"].sendall(hello(siege))
    wires["half"].sendall(line[:1000])
    said: dict[str, bytes] = dict.fromkeys(wires, b"")
    ended: dict[str, float] = {}
    sent = 0
    while len(ended) < len(wires):
        assert time.monotonic() - begun < PATIENCE
        if "drip" not in ended and time.monotonic() - begun > sent * 0.2:
            with contextlib.suppress(ConnectionError):
                wires["drip"].sendall(line[sent : sent + 1])
            sent += 1
        open_ = [wire for name, wire in wires.items() if name not in ended]
        for wire in select.select(open_, [], [], 0.1)[0]:
            name = next(name for name, one in wires.items() if one is wire)
            data = wire.recv(65536)
            said[name] += data
            if not data:
                ended[name] = time.monotonic() - begun
                wire.close()
        siege.round_trip()
    assert said["silent"] == said["drip"] == said["half"] == err("timeout")
    assert said["hello"].startswith(b"SR1 HELLO ")
    assert said["hello"].endswith(b"\n" + err("timeout"))
    # Lower bounds alone: a busy machine may be late, but never early.
    assert ended["silent"] >= 4.5
    assert min(ended["drip"], ended["hello"], ended["half"]) >= 9.5


def test_whoever_does_not_read_its_answer_is_gone_soon(siege: Siege) -> None:
    before = siege.descriptors()
    wire = siege.connect(receive=1024)
    wire.sendall(b"nonsense\n")  # and then neither read nor close
    siege.round_trip()  # by then the relay has accepted it
    deadline = time.monotonic() + PATIENCE
    while siege.descriptors() > before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wire.close()


def test_urgent_data_and_half_closed_connections_change_nothing(siege: Siege) -> None:
    with siege.connect() as wire:
        wire.send(b"!", socket.MSG_OOB)
        wire.sendall(b"nonsense\n")
        assert everything(wire) == err("bad-line")
    with siege.connect() as wire:
        wire.shutdown(socket.SHUT_WR)
        assert everything(wire) == b""
