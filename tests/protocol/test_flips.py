"""Every altered line, every cut, every wrong order: never let in, never an exception.

The states of an honest handshake are kept once and copied for each attempt, so that thousands of
them take seconds.  With the short lines of x25519 every bit is flipped; with the long ones of the
hybrid one bit of every byte, and every bit of AUTH where it is opened.
"""

from __future__ import annotations

import copy
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.crypto import contexts
from securerelay.errors import RemoteError
from securerelay.protocol import auth, responder
from securerelay.protocol.connection import ClientConnection, RelayConnection
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.lines import LineSplitter
from securerelay.protocol.link import End, Link
from securerelay.protocol.records import Kind
from securerelay.protocol.transcript import Item
from tests.protocol.ends import Ends, client_config, credential, enrolment, record, relay_config


@dataclass
class Listener:
    """A host that only listens."""

    said: list[bytes] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    let_in: bool = False

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def ended(self, end: End) -> None:
        self.ends.append(end)

    def sign(self, context: bytes, digest: bytes) -> None:
        self.said.append(b"")

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        self.said.append(b"")

    def find_invitation(self, token: bytes) -> None:
        self.let_in = True

    def authenticated(self, peer: object) -> None:
        self.let_in = True

    def data(self, content: bytes) -> None:
        self.let_in = True

    def welcome(self, welcome: object) -> None:
        self.let_in = True


def fork(connection: Link) -> tuple[Any, Listener]:
    """Copy a connection in the middle of a handshake, with a host that only listens."""
    host = Listener()
    other: Any = copy.copy(connection)
    other._host = host
    other._lines = LineSplitter()
    if isinstance(connection, ClientConnection):
        other._initiator = copy.copy(connection._initiator)
        part = other._initiator
        if connection._answer is not None:
            other._answer = bytearray()
            other._opener = copy.copy(connection._opener)
    else:
        assert isinstance(connection, RelayConnection)
        other._responder = copy.copy(connection._responder)
        part = other._responder
        other._config = replace(connection._config, knocks=KnockMemory())
    if part is not None:
        state = part._state
        if isinstance(state, responder._Hello):
            part._state = replace(state, config=other._config)
        elif hasattr(state, "transcript"):
            part._state = replace(state, transcript=state.transcript.copy())
    return other, host


def fake_sign(context: bytes, digest: bytes) -> bytes:
    return digest * 5 + digest[:16]


@dataclass
class Honest:
    """One honest handshake: each line, and the connections that wait for it."""

    c1: bytes
    s1_hello: bytes
    s1_auth: bytes
    c2: bytes
    before_c1: RelayConnection
    before_s1: ClientConnection
    before_auth: ClientConnection
    before_c2: RelayConnection


EVERY = "SECURERELAY_TEST_EVERY" in os.environ
"""Set it to flip every bit and cut at every byte of the long lines too, which takes minutes."""
FLIP, CUT = (1, 1) if EVERY else (9, 61)


@functools.cache
def honest(kind: str = "full") -> Honest:
    """An honest handshake: ``full``, ``small`` (x25519), ``resumed`` or ``enrolment``."""
    ends = Ends.make()
    if kind == "small":
        ends = Ends.make(relay_config(groups=("x25519",)), client_config(groups=("x25519",)))
    elif kind == "resumed":
        first = Ends.make().run()
        ends = Ends.make(client=client_config(ticket=first.client.ticket))
        ends.relay.tickets = first.relay.tickets
    elif kind == "enrolment":
        ends = Ends.make(client=client_config(credential=enrolment()))
    relay, client = ends.relay.connection, ends.client.connection
    before_c1, _ = fork(relay)
    client.start()
    c1 = ends.to_relay()
    before_s1, _ = fork(client)
    relay.receive(c1)
    before_c2, _ = fork(relay)
    hello, auth = ends.to_client().splitlines(keepends=True)
    client.receive(hello)
    before_auth, _ = fork(client)
    client.receive(auth)
    c2 = ends.to_relay()
    relay.receive(c2)
    assert ends.relay.peer or ends.relay.newcomer
    return Honest(c1, hello, auth, c2, before_c1, before_s1, before_auth, before_c2)


def flips(line: bytes, kind: str = "small") -> Iterator[bytes]:
    """The line with one bit flipped, in every place there is; of a long line, one in each byte."""
    for bit in range(0, len(line) * 8, 1 if kind == "small" else FLIP):
        altered = bytearray(line)
        altered[bit // 8] ^= 1 << bit % 8
        yield bytes(altered)


def refused(connection: Any, host: Listener) -> None:
    """Nobody was let in, and what ended it was the other side's fault, not a bug."""
    assert not connection.established
    assert not host.let_in
    assert all(end.error is None and not end.orderly for end in host.ends)


@pytest.mark.parametrize("kind", ["small", "full", "resumed"])
def test_no_flipped_bit_of_the_first_line_gets_a_hello(kind: str) -> None:
    one = honest(kind)
    for line in flips(one.c1, kind):
        relay, host = fork(one.before_c1)
        relay.receive(line)
        refused(relay, host)
        if host.said == [b""]:  # only the binder was altered: that is for the store to find out
            assert kind == "resumed"
            assert line.split(b" binder=")[0] == one.c1.split(b" binder=")[0]
        else:
            assert all(said.startswith(b"SR1 ERR code=") for said in host.said)
            assert host.said or not line.endswith(b"\n")


@pytest.mark.parametrize("kind", ["small", "full"])
def test_no_flipped_bit_of_the_relays_hello_is_answered(kind: str) -> None:
    one = honest(kind)
    for line in flips(one.s1_hello, kind):
        client, host = fork(one.before_s1)
        client.receive(line)
        client.receive(one.s1_auth)
        refused(client, host)
        assert host.said == []


@pytest.mark.parametrize("kind", ["full", "resumed"])
def test_no_flipped_bit_of_the_relays_auth_is_answered(kind: str) -> None:
    one = honest(kind)
    for line in flips(one.s1_auth, kind):
        client, host = fork(one.before_auth)
        client.receive(line)
        refused(client, host)
        assert host.said == []


@pytest.mark.parametrize("kind", ["full", "resumed", "enrolment"])
def test_no_flipped_bit_of_the_second_line_lets_anyone_in(kind: str) -> None:
    one = honest(kind)
    for line in flips(one.c2, kind):
        relay, host = fork(one.before_c2)
        relay.receive(line)
        refused(relay, host)
        assert all(said.startswith(b"SR1 ERR code=") for said in host.said)
        assert host.said or line[-1:] != b"\n"


@pytest.mark.parametrize("side", ["relay", "client"])
def test_no_flipped_bit_of_an_auth_line_opens(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = honest()
    monkeypatch.setattr(auth, "key_and_iv", functools.cache(auth.key_and_iv))
    waiting: Any = one.before_c2._responder if side == "relay" else one.before_auth._initiator
    secrets = waiting._state.secrets
    line, secret, associated = (
        (one.c2, secrets.client, contexts.CLIENT_AUTH)
        if side == "relay"
        else (one.s1_auth, secrets.relay, contexts.RELAY_AUTH)
    )
    suite, forms = waiting._state.suite, ((Item.EE,), (Item.CCERT,))
    for altered in filter(bytes.isascii, flips(line[:-1])):  # the rest the splitter refuses
        with pytest.raises(RemoteError):
            auth.unseal(altered, suite, secret, associated, forms, False)


STAGES = [
    (kind, stage, line)
    for kind in ("full", "resumed", "enrolment")
    for stage, line in (
        ("before_c1", "c1"),
        ("before_s1", "s1_hello"),
        ("before_auth", "s1_auth"),
        ("before_c2", "c2"),
    )
]


@pytest.mark.parametrize(("kind", "stage", "line"), STAGES)
def test_a_line_cut_short_at_any_byte_is_waited_for_and_its_end_is_a_truncation(
    kind: str, stage: str, line: str
) -> None:
    one = honest(kind)
    connection, host = fork(getattr(one, stage))
    whole = getattr(one, line)
    for byte in whole[:-1]:
        connection.receive(bytes((byte,)))
        assert host.said == host.ends == []
    connection.lost()
    refused(connection, host)
    assert [end.code for end in host.ends] == ["truncated"]


@pytest.mark.parametrize(("kind", "stage", "line"), STAGES)
def test_a_line_may_come_in_two_pieces_cut_at_any_byte(kind: str, stage: str, line: str) -> None:
    one = honest(kind)
    whole = getattr(one, line)
    for cut in range(1, len(whole), 1 if kind == "resumed" else CUT):
        connection, host = fork(getattr(one, stage))
        if stage == "before_auth":
            part = connection._initiator
            quick = replace(part._state.config, credential=replace(credential(), sign=fake_sign))
            part._state = replace(part._state, config=quick)
        connection.receive(whole[:cut])
        assert host.said == host.ends == []
        connection.receive(whole[cut:])
        assert host.ends == []
        assert host.said or host.let_in or stage == "before_s1"


# --- wrong orders ---


def symbols() -> dict[str, bytes]:
    """Everything a stranger who knows the relay id may say."""
    one = honest()
    return {
        "c1": one.c1,
        "another c1": honest("enrolment").c1,
        "s1": one.s1_hello,
        "auth": one.s1_auth,
        "c2": one.c2,
        "empty": b"\n",
        "retry": b"SR1 RETRY group=x25519\n",
        "error": b"SR1 ERR code=busy\n",
        "record": (272).to_bytes(2, "big") + bytes(272),
        "noise": b"\x16\x03\x01",
    }


@pytest.mark.parametrize("start", ["before_c1", "before_s1", "before_auth"])
def test_no_wrong_order_of_three_lines_lets_anyone_in(start: str) -> None:
    one = honest()
    said = symbols()
    rightful = {
        "before_c1": [],
        "before_s1": [("s1", "auth")],
        "before_auth": [("auth",)],
    }[start]
    for order in itertools.product(said, repeat=3):
        if any(order[: len(right)] == right for right in rightful):
            continue
        connection, host = fork(getattr(one, start))
        for name in order:
            connection.receive(said[name])
        refused(connection, host)
        assert len(host.ends) <= 1
        assert sum(text.startswith(b"SR1 ERR") for text in host.said) <= 1


@pytest.mark.parametrize("name", [name for name in symbols() if name != "c2"])
def test_nothing_but_the_second_line_follows_the_relays_hello(name: str) -> None:
    one = honest()
    connection, host = fork(one.before_c2)
    connection.receive(symbols()[name])
    refused(connection, host)
    assert len(host.ends) == 1
    connection.receive(one.c2)
    refused(connection, host)


@given(
    st.sampled_from(["before_c1", "before_s1", "before_auth", "before_c2"]),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"SR1 HELLO ", b"SR1 AUTH ", b"SR1 RETRY group=", b"SR1 ERR code="]),
            st.sampled_from([b"\n", b" ", b"=", b"suites=aes256gcm", b"share=x25519:AAAA"]),
        ),
        max_size=8,
    ),
)
def test_noise_lets_nobody_in_at_any_stage(stage: str, segments: list[bytes]) -> None:
    connection, host = fork(getattr(honest(), stage))
    for segment in segments:
        connection.receive(segment)
    refused(connection, host)
    assert len(host.ends) <= 1


def test_everything_in_one_segment_is_refused_at_once() -> None:
    one = honest()
    relay, host = fork(one.before_c1)
    relay.receive(one.c1 + one.c2)
    refused(relay, host)
    assert host.said == [b"SR1 ERR code=protocol\n"]


def test_a_reflected_handshake_goes_nowhere() -> None:
    one = honest()
    client, host = fork(one.before_s1)
    client.receive(one.c1)
    refused(client, host)
    relay, host = fork(one.before_c2)
    relay.receive(one.s1_auth)
    refused(relay, host)
    assert host.said == [b"SR1 ERR code=auth-failed\n"]


def test_a_second_line_of_another_handshake_is_refused() -> None:
    line = honest("enrolment").c2
    relay, host = fork(honest().before_c2)
    relay.receive(line)
    refused(relay, host)
    assert host.said == [b"SR1 ERR code=auth-failed\n"]


# --- records ---


def test_no_flipped_bit_of_the_first_record_is_a_welcome() -> None:
    ends = Ends.make(answers=False)
    ends.client.connection.start()
    ends.pump()
    ends.relay.sign_now()
    ends.pump()
    before, _ = fork(ends.client.connection)
    ends.relay.let_in()
    welcome = ends.to_client()
    for line in flips(welcome[:300]):
        client, host = fork(before)
        client.receive(line + welcome[300:])
        refused(client, host)
        assert host.said == []


def test_no_flipped_bit_of_a_record_brings_data() -> None:
    ends = Ends.make().run()
    good = record(ends.client.connection, Kind.DATA, b"x")
    relay = ends.relay.connection
    for line in flips(good):
        other: Any = copy.copy(relay)
        other._host = host = Listener()
        other._opener = copy.copy(relay._opener)
        other.receive(line)
        assert not host.let_in
        assert host.said == []
        assert [(end.code, end.error) for end in host.ends] == [("record", None)]
