"""Inside a session: records altered, lost, doubled, of wrong length, or of the wrong kind."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from tests.hostile import independent as sr1
from tests.hostile.answers import BYE, PING, PROTOCOL, SILENCE, heard
from tests.hostile.siege import Siege


def test_a_record_with_any_bit_flipped_ends_the_session_without_a_word(siege: Siege) -> None:
    bits = [*range(16), *range(16, 274 * 8, 89), *range(258 * 8, 274 * 8, 17)]
    for bit in bits:
        client = siege.enter(siege.canary)
        record = bytearray(client.session.out.seal(sr1.DATA, PING))
        record[bit // 8] ^= 1 << bit % 8
        # A length that became another legal one waits for the rest.
        assert heard(client, bytes(record) + bytes(16_384)) == SILENCE, bit


def test_a_lost_record_ends_the_session(client: sr1.Client) -> None:
    client.session.out.seal(sr1.DATA, PING)
    assert heard(client, client.session.out.seal(sr1.DATA, PING)) == SILENCE


def test_records_that_changed_places_end_the_session(client: sr1.Client) -> None:
    one, two = (client.session.out.seal(sr1.DATA, PING) for _ in range(2))
    assert heard(client, two + one) == SILENCE


def test_a_record_twice_ends_the_session(client: sr1.Client) -> None:
    one = client.session.out.seal(sr1.DATA, PING)
    client.wire.sendall(one)
    assert client.receive() == sr1.Message("PONG", ("x",))
    assert heard(client, one) == SILENCE


def test_a_record_of_another_session_ends_this_one(siege: Siege, client: sr1.Client) -> None:
    other = siege.enter(siege.canary)
    assert heard(client, other.session.out.seal(sr1.DATA, PING)) == SILENCE
    other.wire.close()


def test_a_record_of_the_relays_ends_the_session(client: sr1.Client) -> None:
    client.send(PING)
    client._fill(274)
    assert heard(client, bytes(client._buffer)) == SILENCE


@pytest.mark.parametrize(
    "length", [0, 1, 2, 15, 16, 17, 255, 256, 271, 273, 1039, 4111, 16399, 16401, 21074, 65535]
)
def test_a_length_that_no_record_has_ends_the_session(client: sr1.Client, length: int) -> None:
    assert heard(client, length.to_bytes(2, "big") + bytes(length)) == SILENCE


@pytest.mark.parametrize("size", [0, 1, 2, 255, 257, 1023, 1025, 4095, 16383, 16385, 65519])
def test_a_size_that_no_record_has_ends_the_session_though_it_opens(
    client: sr1.Client, size: int
) -> None:
    plain = (PING + b"\1")[:size].ljust(size, b"\0")
    assert heard(client, client.session.out.seal_plain(plain)) == SILENCE


@pytest.mark.parametrize("length", [272, 1040, 4112, 16400])
def test_noise_of_a_legal_length_ends_the_session(client: sr1.Client, length: int) -> None:
    assert heard(client, length.to_bytes(2, "big") + os.urandom(length)) == SILENCE


def test_a_record_without_a_type_ends_the_session(client: sr1.Client) -> None:
    assert heard(client, client.session.out.seal_plain(bytes(256))) == SILENCE


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (sr1.DATA, b""),
        (sr1.UPDATE, b"x"),
        (sr1.CLOSE, b""),
        (sr1.CLOSE, b"a" * 33),
        (sr1.CLOSE, b"Done"),
        (sr1.CLOSE, b"done\n"),
        (sr1.CLOSE, b"\x1b[2J"),
        (sr1.ALERT, b""),
        (sr1.ALERT, b"rekey-due"),
        (sr1.ALERT, b"\x1b]0;owned\x07"),
        (sr1.WELCOME, b"{}"),
        (7, b""),
        (7, b"x"),
        (0x53, b"R1 ERR code=busy"),
        (128, b"x"),
        (255, b"\xff" * 100),
    ],
)
def test_a_record_that_does_not_belong_here_is_a_breach(
    client: sr1.Client, kind: int, content: bytes
) -> None:
    assert heard(client, client.session.out.seal(kind, content)) == PROTOCOL


@pytest.mark.parametrize("code", [b"internal", b"protocol", b"shutdown", b"a-code-nobody-knows"])
def test_a_peer_may_end_with_an_alert(client: sr1.Client, code: bytes) -> None:
    assert heard(client, client.session.out.seal(sr1.ALERT, code)) == SILENCE


def test_a_record_byte_by_byte_is_as_good_as_any(client: sr1.Client) -> None:
    record = client.session.out.seal(sr1.DATA, PING)
    for at in range(len(record)):
        client.wire.sendall(record[at : at + 1])
    assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_thousands_of_records_in_one_segment_are_all_answered(client: sr1.Client) -> None:
    count = 2000
    client.wire.sendall(b"".join(client.session.out.seal(sr1.DATA, PING) for _ in range(count)))
    for _ in range(count):
        assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_half_a_record_waits_and_harms_nobody(siege: Siege, client: sr1.Client) -> None:
    record = client.session.out.seal(sr1.DATA, PING.ljust(16_000, b"x"))
    client.wire.sendall(record[:-1])
    siege.round_trip()
    client.wire.close()  # truncated, which the log says and nobody else needs to know


def test_nothing_is_read_after_close(client: sr1.Client) -> None:
    out = client.session.out
    close = out.seal(sr1.CLOSE, b"done")
    assert heard(client, close + out.seal(sr1.DATA, PING) * 50 + os.urandom(5000)) == BYE


def test_close_twice_is_answered_once(client: sr1.Client) -> None:
    out = client.session.out
    assert heard(client, out.seal(sr1.CLOSE, b"done") + out.seal(sr1.CLOSE, b"again")) == BYE


def test_more_padding_than_needed_is_only_padding(client: sr1.Client) -> None:
    for size in (1024, 4096, 16_384):
        client.wire.sendall(client.session.out.seal_plain((PING + b"\1").ljust(size, b"\0")))
        assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_where_records_are_cut_makes_no_difference(client: sr1.Client) -> None:
    for at in range(1, 274, 3):
        record = client.session.out.seal(sr1.DATA, PING)
        client.wire.sendall(record[:at])
        client.wire.sendall(record[at:])
        assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_urgent_data_within_a_record_is_not_part_of_it(client: sr1.Client) -> None:
    wire: Any = client.wire
    record = client.session.out.seal(sr1.DATA, PING)
    wire.sendall(record[:100])
    wire.send(b"!", socket.MSG_OOB)
    wire.sendall(record[100:])
    assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_a_message_that_close_cuts_off_is_none(client: sr1.Client) -> None:
    begun = sr1.encode("STREAM", "M" * 22, 0) + b"SEND 1 canary - - 500\nhell"
    out = client.session.out
    assert heard(client, out.seal(sr1.DATA, begun) + out.seal(sr1.CLOSE, b"done"))[-1:] == BYE


def test_all_that_was_said_before_close_is_taken_however_much_it_is(siege: Siege) -> None:
    """More messages in one segment than are taken at once, and no two that follow alike."""
    hasty = siege.enrol("hasty", 6)
    client = siege.enter(hasty)
    bodies, out = [b"%d" % n for n in range(1, 801)], client.session.out
    said = [
        sr1.encode("SEND", n, "hasty", 600 + n % 2, "-", body=body)
        for n, body in enumerate(bodies, 1)
    ]
    client.send(sr1.encode("STREAM", "N" * 22, 0) + said[0])
    while client.receive().verb != "OK":  # the stream is open, and who is meant is known
        pass
    rest = b"".join(said[1:])
    records = [out.seal(sr1.DATA, rest[at : at + 16_000]) for at in range(0, len(rest), 16_000)]
    assert heard(client, b"".join(records) + out.seal(sr1.CLOSE, b"done"))[-1:] == BYE
    reader = siege.enter(hasty)
    got: list[bytes] = []
    reader.send(sr1.encode("LISTEN", 0))
    while len(got) < len(bodies):
        message = reader.receive()
        if message.verb == "MSG":
            got.append(message.body)
            reader.send(sr1.encode("ACK", message.tokens[0]))
    assert got == bodies
    reader.close()
