"""The client believes nothing too early, and shows nothing of itself to who is not its relay."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.protocol import auth, hello, schedule
from securerelay.protocol.connection import Credential
from securerelay.protocol.initiator import _Auth as ClientAuth
from securerelay.protocol.initiator import _Hello
from securerelay.protocol.lines import encode
from securerelay.protocol.records import FIRST_SIZE, Kind
from securerelay.protocol.responder import _Signing
from securerelay.protocol.transcript import Item, Transcript
from tests.protocol.ends import (
    CA_SPKI,
    RELAY,
    STRANGER,
    TIME,
    Ends,
    certificate,
    client_config,
    enrolment,
    record,
    rsa_key,
)


def codes(ends: Ends) -> list[tuple[str, bool]]:
    assert all((end.error, end.orderly) == (None, False) for end in ends.client.ends)
    return [(end.code, end.by_peer) for end in ends.client.ends]


def greeted(**client: Any) -> tuple[Ends, _Hello]:
    """A client that has said C1."""
    ends = Ends.make(client=client_config(**client))
    ends.client.connection.start()
    assert ends.client.connection._initiator is not None
    state = ends.client.connection._initiator._state
    assert isinstance(state, _Hello)
    return ends, state


def told(ends: Ends, *segments: bytes) -> list[tuple[str, bool]]:
    """Say something to a client that has said C1; it must not answer."""
    ends.to_relay()
    for segment in segments:
        ends.client.connection.receive(segment)
    assert not ends.client.connection.established
    assert ends.to_relay() == b""
    return codes(ends)


# --- the relay's HELLO ---


def relay_hello(state: _Hello, **changes: Any) -> bytes:
    share, _ = GROUPS[state.group].answer(state.offer.share)
    values = {
        "suite": "aes256gcm",
        "nonce": b"n" * 32,
        "group": state.group,
        "share": share,
        "resumed": False,
        **changes,
    }
    return hello.write_relay_hello(**values) + b"\n"


def test_an_honest_hello_is_taken() -> None:
    ends, state = greeted()
    assert told(ends, relay_hello(state)) == []
    assert ends.client.connection._initiator is not None
    assert isinstance(ends.client.connection._initiator._state, ClientAuth)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda state: {"suite": "chacha20"}, "protocol"),
        (lambda state: {"group": "x25519", "share": b"\x09" * 32}, "protocol"),
        (lambda state: {"nonce": state.nonce}, "protocol"),
        (lambda state: {"resumed": True}, "protocol"),
        (lambda state: {"share": bytes(1120)}, "bad-share"),
        (lambda state: {"share": bytes(1119)}, "bad-share"),
    ],
)
def test_a_hello_that_breaks_a_rule_ends_it_in_silence(change: Any, code: str) -> None:
    ends, state = greeted()
    assert told(ends, relay_hello(state, **change(state))) == [(code, False)]


def test_our_own_share_does_not_come_back() -> None:
    ends, state = greeted(groups=("x25519",))
    said = relay_hello(state, share=state.offer.share)
    assert told(ends, said) == [("protocol", False)]


def test_a_suite_that_this_client_did_not_offer_is_refused() -> None:
    ends, state = greeted(suites=("chacha20poly1305",))
    assert told(ends, relay_hello(state)) == [("protocol", False)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\n", "bad-line"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad-line"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "bad-line"),
        (b"SR1 HELLO\n", "bad-line"),
        (b"SR1 AUTH AAAA\n", "protocol"),
        (b"SR1 QUIT\n", "protocol"),
        (b"SR1 RETRY\n", "bad-line"),
        (b"SR1 RETRY group=x25519\n", "protocol"),
        (b"SR1 RETRY group=x25519mlkem768\n", "protocol"),
        (b"x" * 4128, "too-long"),
    ],
)
def test_anything_else_than_a_hello_ends_it_in_silence(line: bytes, code: str) -> None:
    ends, _ = greeted()
    assert told(ends, line) == [(code, False)]


def test_one_retry_is_followed_and_a_second_is_not() -> None:
    ends, _ = greeted(groups=("x25519mlkem768", "x25519", "ffdhe3072"))
    ends.to_relay()
    ends.client.connection.receive(b"SR1 RETRY group=x25519\n")
    assert b" share=x25519:" in ends.to_relay()
    assert told(ends, b"SR1 RETRY group=ffdhe3072\n") == [("protocol", False)]


def test_a_retry_with_bytes_behind_it_is_not_answered() -> None:
    ends, _ = greeted(groups=("x25519mlkem768", "x25519"))
    assert told(ends, b"SR1 RETRY group=x25519\nS") == [("protocol", False)]


@pytest.mark.parametrize("code", sorted(hello.ERROR_CODES))
def test_what_a_relay_says_in_the_clear_is_reported_as_its_words(code: str) -> None:
    ends, _ = greeted()
    assert told(ends, hello.write_error(code)) == [(code, True)]


def test_an_error_in_other_words_than_the_protocols_is_not_repeated() -> None:
    ends, _ = greeted()
    assert told(ends, b"SR1 ERR code=\x1b\n") == [("bad-line", False)]
    ends, _ = greeted()
    assert told(ends, b"SR1 ERR code=Your-Password-Please\n") == [("bad-line", False)]


def test_an_error_may_come_instead_of_the_relays_auth() -> None:
    ends, state = greeted()
    assert told(ends, relay_hello(state), b"SR1 ERR code=busy\n") == [("busy", True)]


def test_the_first_share_may_be_chosen() -> None:
    ends = Ends.make(client=client_config(groups=("x25519mlkem768", "x25519"), share="x25519"))
    ends.client.connection.start()
    assert b" share=x25519:" in ends.to_relay()


# --- the relay's AUTH ---


def signing(**client: Any) -> tuple[Ends, _Signing]:
    """A relay that waits for its own signature."""
    ends = Ends.make(answers=False, client=client_config(**client))
    ends.client.connection.start()
    ends.relay.connection.receive(ends.to_relay())
    assert ends.relay.connection._responder is not None
    state = ends.relay.connection._responder._state
    assert isinstance(state, _Signing)
    return ends, state


def relay_auth(state: _Signing, **changes: Any) -> bytes:
    """S1 of an honest relay, each part of which may be another before the next is made."""
    transcript = Transcript()
    transcript.add(Item.C1, changes["c1"])
    transcript.add(Item.S1, state.line)
    items = []
    for kind, value in state.items:
        items.append((kind, changes.get(kind.name, value)))
        digest = transcript.add(*items[-1])
    key, context = changes.get("key", RELAY), changes.get("context", contexts.RELAY_VERIFY)
    items.append((Item.SSIG, primitives.sign_pss(rsa_key(key), context, digest)))
    transcript.add(*items[-1])
    finished = schedule.finished(state.next.secrets.relay, transcript.digest())
    items.append((Item.SFIN, changes.get("SFIN", finished)))
    line = auth.seal(
        state.next.suite, state.next.secrets.relay, contexts.RELAY_AUTH, items, resumed=False
    )
    return state.line + b"\n" + line


class Watch:
    """Sees whether the client looks at a certificate, and whether it signs."""

    def __init__(self) -> None:
        self.did: list[str] = []
        plain = client_config()
        assert isinstance(plain.credential, Credential)
        sign, check = plain.credential.sign, plain.check_relay

        def watched_sign(context: bytes, digest: bytes) -> bytes:
            self.did.append("sign")
            return sign(context, digest)

        def watched_check(ca: bytes, der: bytes) -> Any:
            self.did.append("check")
            assert ca == CA_SPKI
            return check(ca, der)

        self.config = {
            "credential": Credential(plain.credential.certificate, watched_sign),
            "check_relay": watched_check,
        }


@pytest.mark.parametrize(
    ("change", "did"),
    [
        ({"EE": b"another authority"}, []),
        ({"EE": b""}, []),
        ({"SCERT": certificate("box", RELAY, "peer")}, ["check"]),
        ({"SCERT": certificate("box", STRANGER, "relay")}, ["check"]),
        ({"SCERT": b"relay|box|not a key"}, ["check"]),
        ({"key": STRANGER}, ["check"]),
        ({"context": contexts.PEER_VERIFY}, ["check"]),
        ({"context": contexts.RELAY_REKEY}, ["check"]),
        ({"SFIN": bytes(48)}, ["check"]),
        ({"SFIN": b""}, ["check"]),
    ],
)
def test_a_relay_that_fails_a_check_learns_nothing_of_the_client(
    change: dict[str, Any], did: list[str]
) -> None:
    watch = Watch()
    ends, state = signing(**watch.config)
    said = relay_auth(state, c1=_c1_of(ends), **change)
    assert told(ends, said) == [("auth-failed", False)]
    assert watch.did == did


def _c1_of(ends: Ends) -> bytes:
    initiator = ends.client.connection._initiator
    assert initiator is not None
    assert isinstance(initiator._state, _Hello)
    return initiator._state.sent


def test_the_same_relay_without_a_fault_gets_the_second_line() -> None:
    watch = Watch()
    ends, state = signing(**watch.config)
    ends.client.connection.receive(relay_auth(state, c1=_c1_of(ends)))
    assert ends.to_relay().startswith(b"SR1 AUTH ")
    assert watch.did == ["check", "sign"]


def test_a_relays_auth_with_bytes_behind_it_is_not_answered() -> None:
    ends, state = signing()
    said = relay_auth(state, c1=_c1_of(ends))
    assert told(ends, said + b"\x10") == [("protocol", False)]


def test_a_relay_that_resumes_names_no_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Ends.make().run()
    ends = Ends.make(client=client_config(ticket=first.client.ticket))
    ends.relay.tickets = first.relay.tickets
    seal = auth.seal

    def with_authority(suite: str, secret: bytes, side: bytes, items: Any, resumed: bool) -> bytes:
        return seal(suite, secret, side, [(Item.EE, CA_SPKI[:40]), *items[1:]], resumed)

    ends.client.connection.start()
    monkeypatch.setattr(auth, "seal", with_authority)
    ends.relay.connection.receive(ends.to_relay())
    assert told(ends, ends.to_client()) == [("auth-failed", False)]
    assert [end.detail for end in ends.client.ends] == ["a CA key where none belongs"]


def test_a_relay_that_does_not_know_the_ticket_cannot_resume_it() -> None:
    first = Ends.make().run()
    ticket = dataclasses.replace(first.client.ticket, psk=b"?" * 48)
    ends = Ends.make(client=client_config(ticket=ticket))
    ends.relay.find_ticket = (  # type: ignore[method-assign]
        lambda ticket_id, verify: ends.relay.connection.ticket_found(
            next(iter(first.relay.tickets.values()))
        )
    )
    ends.client.connection.start()
    ends.relay.connection.receive(ends.to_relay())
    assert told(ends, ends.to_client()) == [("auth-failed", False)]


# --- the answer to C2 ---


def proven(**client: Any) -> Ends:
    """A client that has said C2, and a relay that could welcome it."""
    ends = Ends.make(answers=False, client=client_config(**client))
    ends.client.connection.start()
    ends.pump()
    ends.relay.sign_now()
    ends.pump()
    return ends


def first(ends: Ends, kind: int, content: bytes) -> list[tuple[str, bool]]:
    """Have the relay say this first, whatever it is."""
    relay = ends.relay.connection
    assert relay._complete is not None
    relay._start(relay._complete)
    assert relay._sealer is not None
    ends.client.connection.receive(relay._sealer.seal(kind, content, FIRST_SIZE))
    assert ends.to_relay() == b""
    return codes(ends)


@pytest.mark.parametrize("code", sorted(hello.ERROR_CODES))
def test_an_error_line_after_c2_is_read(code: str) -> None:
    ends = proven()
    ends.client.connection.receive(hello.write_error(code))
    assert codes(ends) == [(code, True)]


def test_an_error_line_after_c2_may_be_cut_at_any_byte() -> None:
    line = hello.write_error("auth-failed")
    for cut in range(1, len(line)):
        ends = proven()
        ends.client.connection.receive(line[:cut])
        assert ends.client.ends == []
        ends.client.connection.receive(line[cut:])
        assert codes(ends) == [("auth-failed", True)]


def test_an_error_line_after_c2_is_read_byte_by_byte() -> None:
    ends = proven()
    for byte in hello.write_error("auth-failed"):
        ends.client.connection.receive(bytes((byte,)))
    assert codes(ends) == [("auth-failed", True)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"SR1 HELLO x=y\n", "protocol"),
        (b"SRx\n", "bad-line"),
        (b"SR\x00", "bad-line"),
        (b"SR1 ERR code=\n", "bad-line"),
        (b"SR" + b"x" * 5000, "too-long"),
    ],
)
def test_another_line_after_c2_ends_it_in_silence(line: bytes, code: str) -> None:
    for segments in ([line], [line[:2], line[2:]], [line[:1], line[1:]]):
        ends = proven()
        for segment in segments:
            ends.client.connection.receive(segment)
        assert codes(ends) == [(code, False)]
        assert ends.to_relay() == b""


def test_an_error_line_is_none_once_records_have_begun() -> None:
    ends = Ends.make().run()
    ends.client.connection.receive(b"SR1 ERR code=busy\n")
    assert codes(ends) == [("record", False)]


def test_a_first_record_may_come_byte_by_byte() -> None:
    ends = proven()
    ends.relay.let_in()
    for byte in ends.to_client():
        assert not ends.client.connection.established
        ends.client.connection.receive(bytes((byte,)))
    assert ends.established


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Kind.DATA, b"x"),
        (Kind.UPDATE, b""),
        (Kind.REKEY, b"\2"),
        (Kind.CLOSE, b"done"),
        (Kind.ALERT, b"rekey-due"),
        (7, b""),
    ],
)
def test_nothing_comes_before_the_welcome(kind: int, content: bytes) -> None:
    ends = proven()
    if kind == 7:
        relay = ends.relay.connection
        assert relay._complete is not None
        relay._start(relay._complete)
        ends.client.connection.receive(record(relay, 7))
        assert codes(ends) == [("protocol", False)]
    else:
        assert first(ends, kind, content) == [("protocol", False)]
    assert not ends.client.connection.established
    assert ends.client.welcomes == []
    assert ends.client.received == b""


GOOD: dict[str, Any] = {"time": TIME, "tickets": [], "limits": {}, "log": {}}
TICKET = encode(b"t" * 16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff",
        b"[]",
        b"null",
        b"{",
        b'{"time":1}x',
        b"[" * 16_000,
        b'{"a":' * 3000,
        b'{"time":' + b"9" * 5000 + b"}",
        b"{}",
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                {"time": None},
                {"time": "1"},
                {"time": 1.5},
                {"time": True},
                {"time": -1},
                {"time": 1 << 63},
                {"limits": []},
                {"log": "x"},
                {"tickets": {}},
                {"tickets": [[]]},
                {"tickets": [17]},
                {"tickets": ["x"]},
                {"tickets": [[TICKET]]},
                {"tickets": [[TICKET, 1, 2]]},
                {"tickets": [[TICKET, "1"]]},
                {"tickets": [[TICKET, -1]]},
                {"tickets": [[TICKET, True]]},
                {"tickets": [[TICKET, 1e9]]},
                {"tickets": [[TICKET, 1 << 63]]},
                {"tickets": [[17, 1]]},
                {"certificate": 17},
                {"certificate": []},
            )
        ),
    ],
)
def test_a_welcome_of_another_form_is_none(content: bytes) -> None:
    assert first(proven(), Kind.WELCOME, content) == [("protocol", False)]


@pytest.mark.parametrize(
    "change",
    [
        {"tickets": [[encode(b"t" * 15), 1]]},
        {"tickets": [["é" * 22, 1]]},
        {"tickets": [["", 1]]},
        {"certificate": "=="},
        {"certificate": ""},
        {"certificate": "\ud800"},
    ],
)
def test_a_welcome_with_something_that_is_no_base64url_is_none(change: dict[str, Any]) -> None:
    content = json.dumps({**GOOD, **change}).encode()
    assert first(proven(), Kind.WELCOME, content) == [("bad-line", False)]


def test_a_welcome_may_leave_out_everything_but_the_time_and_say_more() -> None:
    ends = proven()
    assert first(ends, Kind.WELCOME, b'{"time": 0, "new": [1]}') == []
    (welcome,) = ends.client.welcomes
    assert (welcome.time, welcome.tickets, welcome.limits, welcome.log) == (0, (), {}, {})
    assert welcome.certificate is None


def test_a_client_keeps_eight_tickets_at_most() -> None:
    ends = proven()
    rows = [[encode(bytes((number,)) * 16), 1] for number in range(20)]
    assert first(ends, Kind.WELCOME, json.dumps({**GOOD, "tickets": rows}).encode()) == []
    assert [ticket.id[0] for ticket in ends.client.welcomes[0].tickets] == list(range(8))


def test_a_second_welcome_is_a_breach() -> None:
    ends = Ends.make().run()
    ends.client.connection.receive(
        record(ends.relay.connection, Kind.WELCOME, json.dumps(GOOD).encode())
    )
    assert codes(ends) == [("protocol", False)]
    assert len(ends.client.welcomes) == 1


def test_a_ticket_is_kept_with_the_certificate_of_the_relay_that_gave_it() -> None:
    ends = Ends.make().run()
    ticket = ends.client.ticket
    assert ticket.expiry == TIME // 1000 + 86_400
    assert ticket.relay_certificate == certificate("box", RELAY, "relay")
    assert ticket.relay_spki == primitives.spki(rsa_key(RELAY).public_key())
    again = Ends.make(client=client_config(ticket=ticket))
    again.relay.tickets = ends.relay.tickets
    again.run()
    assert again.client.ticket.relay_certificate == ticket.relay_certificate
    assert again.client.ticket.psk != ticket.psk


def test_when_a_client_may_send() -> None:
    ends = Ends.make(answers=False)
    client = ends.client.connection
    assert not client.may_send
    ends.client.connection.start()
    assert not client.may_send
    with pytest.raises(AssertionError):
        client.send(b"x")
    ends.pump()
    ends.relay.sign_now()
    ends.client.connection.receive(ends.to_client())
    assert client.may_send
    assert not client.established


def test_the_relay_says_nothing_until_it_is_spoken_to() -> None:
    ends = Ends.make()
    assert ends.to_client() == b""
    ends.relay.connection.lost()
    assert ends.to_client() == b""


def test_a_newcomers_welcome_has_its_certificate() -> None:
    ends = Ends.make(client=client_config(credential=enrolment())).run()
    assert ends.client.welcomes[0].certificate is not None
    assert not ends.client.connection.may_send
