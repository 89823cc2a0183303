"""The right thing at the wrong time: lines out of order, records before their turn, replays."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tests import keys
from tests.hostile import independent as sr1
from tests.hostile.siege import HalfWay, Siege, err, everything

CONFIGURATION = """
[handshake]
groups = ["x25519mlkem768", "x25519"]
"""

RECORD = b"\x01\x10" + os.urandom(272)
LINES = {
    "AUTH": (b"SR1 AUTH " + b"A" * 4118 + b"\n", "protocol"),
    "short AUTH": (b"SR1 AUTH AAAA\n", "protocol"),
    "RETRY": (b"SR1 RETRY group=x25519\n", "protocol"),
    "ERR": (b"SR1 ERR code=busy\n", "protocol"),
    "WELCOME as a line": (b"SR1 WELCOME\n", "protocol"),
    "an unknown verb": (b"SR1 QUIT\n", "protocol"),
    "an empty line": (b"\n", "bad-line"),
    "no verb": (b"SR1\n", "bad-line"),
    "a record": (RECORD, "bad-line"),
    "a session message": (b"STREAM AAAAAAAAAAAAAAAAAAAAAA 0\n", "bad-line"),
    "a call": (b"CALL t peer.list 0\n", "bad-line"),
}


def c1(siege: Siege, **options: object) -> bytes:
    options.setdefault("groups", ("x25519mlkem768",))
    nobody = sr1.Credential(b"", lambda *_: b"")
    return sr1.ClientHandshake(siege.relay_id, nobody, **options).hello()  # type: ignore[arg-type]


@pytest.mark.parametrize("what", LINES)
def test_nothing_but_hello_comes_first(siege: Siege, what: str) -> None:
    line, code = LINES[what]
    assert siege.say(line) == err(code)


@pytest.mark.parametrize("what", LINES)
def test_nothing_may_follow_hello_in_one_segment(siege: Siege, what: str) -> None:
    line, _ = LINES[what]
    assert siege.say(c1(siege) + line) == err("protocol")
    assert siege.say(c1(siege) + line[:1]) == err("protocol")


@pytest.mark.parametrize("what", LINES)
def test_nothing_but_a_proof_follows_the_relays_hello(siege: Siege, what: str) -> None:
    line, code = LINES[what]
    if "AUTH" in what:  # it is their turn now, but this one proves nothing
        code = "auth-failed"
    assert HalfWay(siege, siege.canary.credential).end(line) == err(code)


def test_a_second_hello_is_out_of_turn(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(c1(siege)) == err("protocol")
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(half.c1) == err("protocol")


def retried(siege: Siege) -> tuple[socket.socket, sr1.ClientHandshake, bytes]:
    """A connection that was told RETRY, the client, and its legal answer."""
    core = sr1.ClientHandshake(
        siege.relay_id, siege.canary.credential, groups=("x25519", "x25519mlkem768")
    )
    wire = siege.connect()
    wire.sendall(core.hello())
    line = everything(wire, 1)
    assert line == b"SR1 RETRY group=x25519mlkem768\n"
    return wire, core, core.retry(line[:-1])


@pytest.mark.parametrize("what", LINES)
def test_nothing_but_hello_follows_retry(siege: Siege, what: str) -> None:
    line, code = LINES[what]
    wire, _, _ = retried(siege)
    with wire:
        wire.sendall(line)
        assert everything(wire) == err(code)


def test_after_retry_the_client_says_what_it_said_before(siege: Siege) -> None:
    wire, _, answer = retried(siege)
    with wire:
        wire.sendall(answer)
        assert everything(wire, 2).startswith(b"SR1 HELLO ")
    for changes in (
        {"nonce": bytes(32)},
        {"suites": ("aes256gcm",)},
        {"groups": ("x25519mlkem768", "x25519")},
        {"groups": ("x25519mlkem768",)},
        {"share": "x25519"},
    ):
        wire, core, _ = retried(siege)
        other = {"nonce": core.nonce, "groups": core.groups, "share": "x25519mlkem768", **changes}
        with wire:
            wire.sendall(c1(siege, **other))
            assert everything(wire) == err("protocol"), changes


def test_there_is_one_retry(siege: Siege) -> None:
    core = sr1.ClientHandshake(
        siege.relay_id, siege.canary.credential, groups=("x25519", "x25519mlkem768")
    )
    with siege.connect() as wire:
        wire.sendall(core.hello())
        everything(wire, 1)
        wire.sendall(core.hello())  # a fresh share and knock, still not the group asked for
        assert everything(wire) == err("protocol")


def test_a_hello_that_was_overheard_opens_nothing(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    assert siege.say(half.c1) == err("bad-line")
    assert siege.say(half.c1 + half.c2) == err("bad-line")
    half.wire.close()
    assert siege.say(half.c1) == err("bad-line")


def test_a_whole_session_played_back_opens_nothing(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    session = sr1.Session("client", half.core.suite, half.core.secrets)
    records = session.out.seal(sr1.DATA, b"PING x\n") + session.out.seal(sr1.CLOSE, b"done")
    assert len(half.end(half.c2, records)) > 4096  # WELCOME, PONG and CLOSE
    assert siege.say(half.c1, half.c2, records) == err("bad-line")
    assert siege.say(half.c2, records) == err("protocol")
    assert siege.say(records) == err("bad-line")


def test_what_the_relay_says_does_not_work_on_the_relay(siege: Siege) -> None:
    hello, auth = HalfWay(siege, siege.canary.credential).s1
    assert siege.say(hello + b"\n") == err("bad-line")
    assert siege.say(auth + b"\n") == err("protocol")
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(half.s1[1] + b"\n") == err("auth-failed")
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(half.s1[0] + b"\n") == err("protocol")


@pytest.mark.parametrize(
    ("what", "change", "code"),
    [
        ("a CR", lambda line: line[:-1] + b"\r\n", "bad-line"),
        ("another alphabet", lambda line: line[:9] + b"+/" + line[11:], "bad-line"),
        ("padding", lambda line: line[:-2] + b"=\n", "bad-line"),
        ("no token", lambda line: b"SR1 AUTH\n", "bad-line"),
        ("an empty token", lambda line: b"SR1 AUTH \n", "bad-line"),
        ("two tokens", lambda line: b"SR1 AUTH AAAA AAAA\n", "bad-line"),
        ("two spaces", lambda line: b"SR1 AUTH  " + line[9:-2] + b"\n", "bad-line"),
        ("small letters", lambda line: line.replace(b"AUTH", b"auth"), "bad-line"),
        ("an empty line first", lambda line: b"\n" + line, "bad-line"),
        ("four letters more", lambda line: line[:-1] + b"AAAA\n", "too-long"),
        ("letters less", lambda line: line[:9] + line[9:-1][:-6] + b"\n", "auth-failed"),
    ],
)
def test_a_proof_has_one_form(
    siege: Siege, what: str, change: Callable[[bytes], bytes], code: str
) -> None:
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(change(half.c2)) == err(code)


def test_a_proof_byte_by_byte_is_as_good_as_any(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    for at in range(len(half.c2)):
        half.wire.sendall(half.c2[at : at + 1])
    client = sr1.Client(siege.relay_id).attach(half.wire)
    client._session = sr1.Session("client", half.core.suite, half.core.secrets)
    assert client.receive_record()[0] == sr1.WELCOME
    client.close()


@pytest.mark.parametrize("before", ["S1", "the proof", "WELCOME"])
def test_who_says_that_nothing_more_comes_is_gone(siege: Siege, before: str) -> None:
    """TCP lets each side end by itself; half a connection is of no use to anybody here."""
    with siege.connect() as wire:
        core = sr1.ClientHandshake(siege.relay_id, siege.canary.credential)
        wire.sendall(core.hello())
        if before != "S1":
            hello, auth = everything(wire, 2).splitlines()
            core.server_hello(hello)
            proof = core.server_auth(auth)
            if before == "WELCOME":
                wire.sendall(proof)
        wire.shutdown(socket.SHUT_WR)
        assert b"SR1 ERR" not in everything(wire)


def test_a_ticket_does_not_come_go_or_change_after_retry(siege: Siege) -> None:
    client = siege.client(siege.canary.credential)
    one, other = client.handshake().tickets
    client.close()
    for before, after in ((one, None), (one, other), (None, one)):
        core = sr1.ClientHandshake(
            siege.relay_id,
            siege.canary.credential,
            ticket=before,
            groups=("x25519", "x25519mlkem768"),
        )
        with siege.connect() as wire:
            wire.sendall(core.hello())
            line = everything(wire, 1)
            core.ticket = after
            wire.sendall(core.retry(line[:-1]))
            assert everything(wire) == err("protocol")
    for ticket in (one, other):  # none of it used them up
        client = siege.client(siege.canary.credential)
        client.resume(ticket)
        assert client.core is not None
        assert client.core.resumed
        client.close()


def test_a_proof_is_good_for_its_own_connection_alone(siege: Siege) -> None:
    one = HalfWay(siege, siege.canary.credential)
    two = HalfWay(siege, siege.canary.credential)
    assert one.end(two.c2) == err("auth-failed")
    assert two.end(one.c2) == err("auth-failed")


def test_a_proof_of_an_earlier_connection_is_none(siege: Siege) -> None:
    old = HalfWay(siege, siege.canary.credential)
    old.wire.sendall(old.c2)
    old.wire.recv(1)
    old.wire.close()
    new = HalfWay(siege, siege.canary.credential)
    assert new.end(old.c2) == err("auth-failed")


def test_records_may_follow_the_proof_at_once(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    client = sr1.Client(siege.relay_id).attach(half.wire)
    client._session = session = sr1.Session("client", half.core.suite, half.core.secrets)
    half.wire.sendall(half.c2 + session.out.seal(sr1.DATA, b"PING now\n"))
    assert client.receive_record()[0] == sr1.WELCOME
    assert client.receive() == sr1.Message("PONG", ("now",))
    client.close()


@pytest.mark.parametrize(
    "tail",
    [b"SR1 AUTH AAAA\n", b"SR", b"PING x\n", RECORD, b"\0\0", b"\xff\xff", b"\x01\x10" * 137],
)
def test_junk_behind_a_proof_ends_the_session_without_a_word(siege: Siege, tail: bytes) -> None:
    half = HalfWay(siege, siege.canary.credential)
    said = half.end(half.c2 + tail.ljust(274, b"\0"))
    assert b"SR1 ERR" not in said
    assert len(said) in (0, 4114)  # at most WELCOME


def test_a_proof_twice_ends_the_session_without_a_word(siege: Siege) -> None:
    half = HalfWay(siege, siege.canary.credential)
    said = half.end(half.c2, half.c2)
    assert len(said) in (0, 4114)


def test_a_proof_behind_megabytes_of_records_waits_bounded(siege: Siege) -> None:
    """Records that come before the peer is let in are held, but not many of them."""
    half = HalfWay(siege, siege.canary.credential)
    said = half.end(half.c2 + RECORD * 20_000)
    assert b"SR1 ERR" not in said


def test_a_newcomers_records_are_not_looked_at(siege: Siege) -> None:
    key = keys.rsa_key(2048, 2)
    newcomer = sr1.Newcomer(siege.invite("early"), sr1.spki_of(key.public_key()), sr1.signer(key))
    half = HalfWay(siege, newcomer)
    session = sr1.Session("client", half.core.suite, half.core.secrets)
    data = session.out.seal(sr1.DATA, b"CALL t peer.list 0\n")
    said = half.end(half.c2 + data * 2)
    length = 2 + int.from_bytes(said[:2], "big")
    assert session.into.open(said[2:length])[0] == sr1.WELCOME
    assert session.into.open(said[length + 2 :])[0] == sr1.CLOSE


def test_a_stranger_cannot_end_somebody_elses_session(siege: Siege) -> None:
    """Whatever comes by another connection, the canary's goes on; the oracle sees to it."""
    client = siege.enter(siege.canary)
    half = HalfWay(siege, siege.canary.credential)
    close = sr1.Session("client", half.core.suite, half.core.secrets).out.seal(sr1.CLOSE, b"done")
    assert half.end(close) == err("bad-line")
    client.send(sr1.encode("PING", "here"))
    assert client.receive() == sr1.Message("PONG", ("here",))
    client.close()
