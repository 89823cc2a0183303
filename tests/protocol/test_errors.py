"""Every ERR line: what leads to it, that its class has one form, and that nothing follows it."""

# More than 400 lines: every answer of one state machine, side by side.

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.errors import RemoteError
from securerelay.protocol import auth, hello, lines
from securerelay.protocol.connection import Resumption
from securerelay.protocol.responder import Responder, _Auth
from securerelay.protocol.transcript import Item
from tests import keys
from tests.protocol.ends import (
    RELAY_ID,
    STRANGER,
    TIME,
    Ends,
    certificate,
    client_config,
    credential,
    enrolment,
    relay_config,
    rsa_key,
)

KEY = hello.knock_key(RELAY_ID)
GROUP = "x25519mlkem768"


def c1(**changes: Any) -> bytes:
    """A first line with a valid knock, altered before the knock was made."""
    values = {
        "suites": ("aes256gcm",),
        "groups": (GROUP,),
        "nonce": bytes(32),
        "group": GROUP,
        "share": GROUPS[GROUP].offer().share,
        "ticket": None,
        **changes,
    }
    return hello.write_client_hello(KEY, **values) + b"\n"


def knocked(before: bytes) -> bytes:
    """Any line up to the knock, with a valid one."""
    return before + b" to=" + lines.encode(hello.knock(KEY, before)).encode() + b"\n"


def answer(*segments: bytes, **relay_side: Any) -> bytes:
    """Send this to a relay; return all it says."""
    ends = Ends.make(**relay_side)
    for segment in segments:
        ends.relay.connection.receive(segment)
    if ends.relay.ends:
        ends.relay.connection.receive(c1())  # nothing is read any more
        assert len(ends.relay.ends) == 1
    assert not ends.relay.connection.established
    return ends.to_client()


def err(code: str) -> bytes:
    return b"SR1 ERR code=" + code.encode() + b"\n"


def test_a_valid_first_line_gets_hello_and_auth() -> None:
    said = answer(c1()).split(b"\n")
    assert said[0].startswith(b"SR1 HELLO suite=aes256gcm nonce=")
    assert said[1].startswith(b"SR1 AUTH ")
    assert len(said[1]) + 1 == 4128


HEAD = b"SR1 HELLO suites=aes256gcm groups=x25519mlkem768 nonce="
NONCE = lines.encode(bytes(32)).encode()
SHARE = lines.encode(bytes(1216)).encode()
LINE = c1()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"SR1 HELLO\n",
        b"SR1 HELLO " + b"x=1 " * 500 + b"\n",
        LINE[:-3] + (b"AA\n" if LINE[-3:-1] != b"AA" else b"QA\n"),
        c1().replace(b"nonce", b"Nonce"),
        knocked(HEAD + NONCE),
        knocked(HEAD + NONCE + b" share=x25519mlkem768"),
        knocked(HEAD + NONCE[:-1] + b" share=x25519mlkem768:" + SHARE),
        knocked(HEAD + NONCE + b" share=x25519mlkem768:" + SHARE + b"="),
        knocked(HEAD + NONCE + b" share=x25519mlkem768:" + SHARE + b" ticket=" + NONCE[:22]),
        knocked(HEAD + NONCE + b"  share=x25519mlkem768:" + SHARE),
        knocked(HEAD + NONCE + b" share=x25519mlkem768:" + SHARE)[:-1] + b" x=1\n",
        knocked(HEAD.replace(b"aes256gcm", b"a,a") + NONCE + b" share=a:" + SHARE),
        knocked(HEAD.replace(b"aes256gcm", b"a,b,c,d,e,f,g,h,i") + NONCE + b" share=a:" + SHARE),
    ],
)
def test_a_bad_line_is_bad_line(line: bytes) -> None:
    assert answer(line) == err("bad-line")


def test_a_wrong_knock_is_answered_like_noise() -> None:
    stranger = Ends.make(client=client_config(relay_id=bytes(32)))
    stranger.client.connection.start()
    assert answer(stranger.to_relay()) == answer(b"noise\n") == err("bad-line")


def test_a_knock_opens_once() -> None:
    config = relay_config()
    line = c1()
    assert answer(line, relay=config).startswith(b"SR1 HELLO")
    assert answer(line, relay=config) == err("bad-line")


def test_a_line_too_long_is_too_long() -> None:
    assert answer(b"SR1 HELLO " + b"a" * 5000) == err("too-long")


@pytest.mark.parametrize("verb", [b"AUTH AAAA", b"RETRY group=x25519", b"ERR code=busy", b"QUIT"])
def test_a_line_in_the_wrong_place_is_protocol(verb: bytes) -> None:
    assert answer(b"SR1 " + verb + b"\n") == err("protocol")


def test_hello_twice_is_protocol() -> None:
    said = answer(c1(), c1())
    assert said.count(b"\n") == 3
    assert said.endswith(err("protocol"))


def test_pipelined_input_is_protocol_and_gets_no_hello() -> None:
    assert answer(c1() + b"S") == err("protocol")
    assert answer(c1() + c1()) == err("protocol")


def test_input_while_the_relay_signs_is_protocol() -> None:
    assert answer(c1(), b"S", answers=False) == err("protocol")


def test_input_behind_a_hello_that_gets_a_retry_is_protocol() -> None:
    line = c1(groups=("x25519", GROUP), group="x25519", share=bytes(32))
    assert answer(line + b"x") == err("protocol")


def retried(second: dict[str, Any]) -> bytes:
    first = {"groups": ("x25519", GROUP), "group": "x25519", "share": b"\x09" + bytes(31)}
    said = answer(c1(**first), c1(**{"groups": ("x25519", GROUP), **second}))
    retry, rest = said.split(b"\n", 1)
    assert retry == b"SR1 RETRY group=" + GROUP.encode()
    return rest


def test_a_retry_is_answered_with_the_group_it_names() -> None:
    assert retried({}).startswith(b"SR1 HELLO")


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": b"\1" * 32},
        {"suites": ("chacha20poly1305", "aes256gcm")},
        {"groups": (GROUP, "x25519")},
        {"group": "x25519", "share": b"\x10" + bytes(31)},
    ],
)
def test_a_second_hello_that_says_something_else_is_protocol(change: dict[str, Any]) -> None:
    assert retried(change) == err("protocol")


def test_nothing_in_common_is_said() -> None:
    assert answer(c1(suites=("des",))) == err("no-common-suite")
    assert answer(c1(groups=("x25519",), group="x25519", share=bytes(32))) == err("no-common-group")


def test_unknown_names_are_passed_over() -> None:
    said = answer(c1(suites=("des", "aes256gcm"), groups=("new", GROUP)))
    assert said.startswith(b"SR1 HELLO")


ENCAPSULATION_KEY = GROUPS[GROUP].offer().share


@pytest.mark.parametrize(
    ("group", "share"),
    [
        (GROUP, bytes(1215)),
        (GROUP, bytes(1217)),
        (GROUP, b"\xff" * 1184 + b"\x09" * 32),
        (GROUP, ENCAPSULATION_KEY[:1184] + bytes(32)),
        ("x25519", bytes(32)),
        ("x25519", bytes(31) + b"\x01" * 2),
        ("ffdhe3072", bytes(384)),
        ("ffdhe3072", bytes(383) + b"\x01"),
        ("ffdhe3072", b"\xff" * 384),
        ("ffdhe3072", bytes(382) + b"\x02"),
        ("rsa3072-oaep", b"not a key"),
        ("rsa3072-oaep", primitives.spki(rsa_key().public_key())),
    ],
)
def test_a_share_that_breaks_its_group_is_bad_share(group: str, share: bytes) -> None:
    line = c1(groups=(group,), group=group, share=share)
    assert answer(line, relay=relay_config(groups=tuple(GROUPS))) in (
        err("bad-share"),
        b"SR1 RETRY group=" + GROUP.encode() + b"\n",
    )
    assert answer(line, relay=relay_config(groups=(group,))) == err("bad-share")


def test_a_share_of_a_group_that_is_not_offered_is_bad_share() -> None:
    assert answer(c1(group="x25519", share=bytes(32))) == err("bad-share")


def test_a_deadline_says_timeout() -> None:
    ends = Ends.make()
    ends.relay.connection.timed_out()
    assert ends.to_client() == err("timeout")


def test_a_deadline_that_passes_after_the_welcome_says_nothing() -> None:
    ends = Ends.make().run()
    ends.relay.connection.timed_out()
    assert ends.to_client() == b""
    assert ends.relay.ends == []


def test_a_line_before_its_turn_is_protocol() -> None:
    responder = Responder(relay_config(), lambda: 0.0)
    responder.line(c1()[:-1])  # now it waits for a signature
    with pytest.raises(RemoteError, match="protocol: a line before its turn"):
        responder.line(c1()[:-1])


def test_a_full_relay_says_busy() -> None:
    ends = Ends.make()
    ends.relay.connection.fail(RemoteError("busy"))
    assert ends.to_client() == err("busy")


# --- C2 ---


def awaiting_c2(**relay_side: Any) -> tuple[Ends, _Auth]:
    """A relay that has sent S1, and its state."""
    ends = Ends.make(**relay_side)
    ends.client.connection.start()
    ends.relay.connection.receive(ends.to_relay())
    assert ends.relay.connection._responder is not None
    state = ends.relay.connection._responder._state
    assert isinstance(state, _Auth)
    return ends, state


def second_line(state: _Auth, items: list[tuple[Item, bytes]], **changes: Any) -> bytes:
    values = {
        "suite": state.suite,
        "secret": state.secrets.client,
        "associated": contexts.CLIENT_AUTH,
        "items": items,
        "resumed": False,
        **changes,
    }
    return auth.seal(**values)


def proof(state: _Auth, **changes: bytes) -> list[tuple[Item, bytes]]:
    """The items of an honest C2, each of which may be replaced before the next is made."""
    transcript = state.transcript.copy()
    cert = changes.get("certificate", certificate("alice", 1, "peer"))
    digest = transcript.add(Item.CCERT, cert)
    signature = changes.get("signature") or primitives.sign_pss(
        rsa_key(1), changes.get("context", contexts.PEER_VERIFY), digest
    )
    transcript.add(Item.CSIG, signature)
    from securerelay.protocol import schedule

    finished = schedule.finished(state.secrets.client, transcript.digest())
    return [
        (Item.CCERT, cert),
        (Item.CSIG, signature),
        (Item.CFIN, changes.get("finished", finished)),
    ]


def test_the_honest_second_line_is_accepted() -> None:
    ends, state = awaiting_c2()
    ends.relay.connection.receive(second_line(state, proof(state)))
    assert ends.relay.connection.established


@pytest.mark.parametrize(
    "change",
    [
        {"certificate": certificate("alice", STRANGER, "peer")},
        {"certificate": certificate("alice", 1, "relay")},
        {"signature": bytes(256)},
        {"context": contexts.RELAY_VERIFY},
        {"finished": bytes(48)},
        {"finished": b""},
    ],
)
def test_every_failed_proof_gets_the_same_answer(change: dict[str, bytes]) -> None:
    ends, state = awaiting_c2()
    line = second_line(state, proof(state, **change))
    ends.to_client()
    ends.relay.connection.receive(line)
    assert ends.to_client() == err("auth-failed")
    assert not ends.relay.connection.established
    assert ends.relay.peer is None


@pytest.mark.parametrize(
    "reshape",
    [
        lambda items: items[:2],
        lambda items: [items[1], items[0], items[2]],
        lambda items: [*items, items[2]],
        lambda items: [],
        lambda items: [(Item.EE, b""), *items],
        lambda items: items[2:],
    ],
)
def test_items_missing_doubled_or_out_of_order_get_the_same_answer(reshape: Any) -> None:
    ends, state = awaiting_c2()
    line = second_line(state, reshape(proof(state)))
    ends.to_client()
    ends.relay.connection.receive(line)
    assert ends.to_client() == err("auth-failed")


@pytest.mark.parametrize(
    "change",
    [
        {"secret": bytes(48)},
        {"associated": contexts.RELAY_AUTH},
        {"resumed": True, "items": [(Item.CFIN, bytes(48))]},
    ],
)
def test_an_auth_of_other_keys_side_or_size_gets_the_same_answer(change: dict[str, Any]) -> None:
    ends, state = awaiting_c2()
    line = second_line(state, **{"items": proof(state), **change})
    ends.to_client()
    ends.relay.connection.receive(line)
    assert ends.to_client() == err("auth-failed")


def sealed(state: _Auth, plain: bytes) -> bytes:
    from securerelay.protocol.schedule import key_and_iv

    key, iv = key_and_iv(state.secrets.client)
    cipher = primitives.aead(state.suite, key)
    token = lines.encode(primitives.seal(cipher, iv, plain, contexts.CLIENT_AUTH))
    return b"SR1 AUTH " + token.encode() + b"\n"


def test_padding_must_be_there_and_zero() -> None:
    from securerelay.protocol.transcript import encode_item

    for spoil in (
        lambda plain: plain[:-1] + b"\1",
        lambda plain: plain.replace(b"\0" * 200, b"\0" * 199 + b"\7"),
        lambda plain: plain[:-1],
        lambda plain: encode_item(Item.CCERT, bytes(3072 - 5)),
        lambda plain: plain[:1] + b"\xff\xff\xff\xff" + plain[5:],
    ):
        ends, state = awaiting_c2()
        plain = b"".join(encode_item(*item) for item in proof(state)).ljust(3072, b"\0")
        ends.to_client()
        ends.relay.connection.receive(sealed(state, spoil(plain)))
        assert ends.to_client() == err("auth-failed")


def test_a_second_line_that_is_no_auth_is_named_for_what_it_is() -> None:
    for line, code in (
        (c1(), "protocol"),
        (b"SR1 AUTH\n", "bad-line"),
        (b"SR1 AUTH AAAA AAAA\n", "bad-line"),
        (b"SR1 AUTH A\n", "bad-line"),
        (b"SR1 AUTH AAAA\n", "auth-failed"),
    ):
        ends, _ = awaiting_c2()
        ends.to_client()
        ends.relay.connection.receive(line)
        assert ends.to_client() == err(code)


def test_a_wrong_binder_fails_and_leaves_the_ticket() -> None:
    first = Ends.make().run()
    stolen = dataclasses.replace(first.client.ticket, psk=bytes(48))
    second = Ends.make(client=client_config(ticket=stolen))
    second.relay.tickets = first.relay.tickets
    second.client.connection.start()
    second.relay.connection.receive(second.to_relay())
    assert second.to_client() == err("auth-failed")
    assert len(second.relay.tickets) == 2


def test_the_binder_covers_the_whole_line_before_it() -> None:
    first = Ends.make().run()
    ticket = first.client.ticket
    line = c1(ticket=ticket.id)[:-1]
    other = Ends.make(client=client_config(ticket=ticket))
    other.client.connection.start()
    binder = other.to_relay().split(b"binder=")[1].strip()
    ends = Ends.make()
    ends.relay.tickets = first.relay.tickets
    ends.relay.connection.receive(line + b" binder=" + binder + b"\n")
    assert ends.to_client() == err("auth-failed")


def test_a_foreign_invitation_token_gets_the_uniform_answer() -> None:
    newcomer = dataclasses.replace(enrolment(), token=b"other!")
    ends = Ends.make(client=client_config(credential=newcomer)).run()
    assert [end.code for end in ends.client.ends] == ["auth-failed"]


@pytest.mark.parametrize(
    "change",
    [{"name": "Alice"}, {"name": ""}, {"spki": b"x"}, {"sign": credential("alice", 2).sign}],
)
def test_an_enrolment_without_name_key_or_possession_gets_the_uniform_answer(
    change: dict[str, Any],
) -> None:
    newcomer = dataclasses.replace(enrolment(), **change)
    ends = Ends.make(client=client_config(credential=newcomer)).run()
    assert [end.code for end in ends.client.ends] == ["auth-failed"]
    assert ends.relay.newcomer is None


def test_a_newcomers_key_has_enough_bits_and_the_usual_exponent() -> None:
    weak = keys.rsa_key(1024)
    newcomer = dataclasses.replace(
        enrolment(),
        spki=primitives.spki(weak.public_key()),
        sign=lambda context, digest: primitives.sign_pss(weak, context, digest),
    )
    ends = Ends.make(client=client_config(credential=newcomer)).run()
    assert [end.code for end in ends.client.ends] == ["auth-failed"]
    assert [end.detail for end in ends.relay.ends] == ["not an RSA key of 2048 to 4096 bits"]


@pytest.mark.parametrize("invite", [b"", b"token", b"token!", b"token!\n", b"token!Alice"])
def test_an_invitations_token_comes_with_a_name(invite: bytes) -> None:
    newcomer = dataclasses.replace(enrolment(), token=invite, name="")
    ends = Ends.make(client=client_config(credential=newcomer)).run()
    assert [end.detail for end in ends.relay.ends] == ["no token and name"]


def test_a_resumed_session_has_no_room_for_a_certificate() -> None:
    first = Ends.make().run()
    ends = Ends.make(client=client_config(ticket=first.client.ticket))
    ends.relay.tickets = first.relay.tickets
    ends.client.connection.start()
    ends.relay.connection.receive(ends.to_relay())
    assert ends.relay.connection._responder is not None
    state = ends.relay.connection._responder._state
    assert isinstance(state, _Auth)
    ends.to_client()
    line = second_line(state, [(Item.CCERT, b""), (Item.CFIN, bytes(48))], resumed=True)
    ends.relay.connection.receive(line)
    assert ends.to_client() == err("auth-failed")


def test_resumption_keeps_the_peer_of_the_first_session() -> None:
    first = Ends.make().run()
    ends = Ends.make(client=client_config(ticket=first.client.ticket, credential=credential("bob")))
    ends.relay.tickets = first.relay.tickets
    ends.run()
    assert ends.relay.peer is not None
    assert (ends.relay.peer.name, ends.relay.peer.auth_time) == ("alice", TIME)
    assert all(isinstance(kept, Resumption) for kept in ends.relay.tickets.values())


def test_a_bad_share_does_not_use_a_ticket_up() -> None:
    ends = Ends.make()
    line = (
        c1(share=bytes(1216)[:-1], ticket=bytes(16))[:-1]
        + b" binder="
        + lines.encode(bytes(48)).encode()
    )
    ends.relay.connection.receive(line + b"\n")
    assert ends.to_client() == err("bad-share")
    assert ends.relay.asked == []
