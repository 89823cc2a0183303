"""REKEY: only who can sign gets the new keys, and nothing slips through while they change."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.errors import RemoteError
from securerelay.protocol import client_end
from securerelay.protocol.link import REKEY_INTERVAL
from securerelay.protocol.records import Kind
from securerelay.protocol.rekey import ClientRekey, RelayRekey
from securerelay.protocol.schedule import RekeyRoot
from tests.protocol.ends import (
    ALICE,
    RELAY,
    STRANGER,
    Ends,
    client_config,
    credential,
    opened,
    record,
    relay_config,
    rsa_key,
)

ROOT = RekeyRoot(b"e" * 48, b"r" * 48)
GROUP = "x25519"
RELAY_SPKI, PEER_SPKI = (primitives.spki(rsa_key(n).public_key()) for n in (RELAY, ALICE))


def sign(key: int, context: bytes, digest: bytes) -> bytes:
    return primitives.sign_pss(rsa_key(key), context, digest)


def offered() -> tuple[ClientRekey, RelayRekey]:
    client = ClientRekey.begin(GROUP)
    return client, RelayRekey.offered(client.body, ROOT, (GROUP,))


def answered(key: int = RELAY, context: bytes = contexts.RELAY_REKEY) -> tuple[Any, ...]:
    client, relay = offered()
    return client, relay, relay.answer(sign(key, context, relay.digest), ROOT)


def test_both_sides_come_to_the_same_secrets() -> None:
    client, relay, body = answered()
    mine = client.answered(body, ROOT, RELAY_SPKI)
    done = mine.done(sign(ALICE, contexts.PEER_REKEY, mine.digest))
    assert relay.done(done, PEER_SPKI) == mine.secrets


def test_the_bodies_are_those_of_the_protocol() -> None:
    client, _, body = answered()
    assert client.body == b"\1\6x25519\0\x20" + client.offer.share
    assert body[:10] == b"\2\6x25519\0\x20"
    assert body[42:44] == b"\1\0"
    assert len(body) == 44 + 256


# --- what a relay refuses ---


def offer_body(group: bytes, share: bytes, kind: bytes = b"\1") -> bytes:
    return kind + bytes((len(group),)) + group + len(share).to_bytes(2, "big") + share


SHARE = GROUPS[GROUP].offer().share


@pytest.mark.parametrize(
    "body",
    [
        b"",
        offer_body(b"x25519", SHARE, b"\2"),
        offer_body(b"x25519", SHARE, b"\3"),
        offer_body(b"x25519", SHARE, b"\0"),
        offer_body(b"x25519", SHARE) + b"\0",
        offer_body(b"x25519", bytes(32)),
        offer_body(b"x25519", SHARE[:-1]),
        offer_body(b"x25519mlkem768", GROUPS["x25519mlkem768"].offer().share),
        offer_body(b"", SHARE),
        offer_body(b"\xff" * 6, SHARE),
        offer_body(b"x" * 255, SHARE),
        *(offer_body(b"x25519", SHARE)[:length] for length in range(1, 42)),
    ],
)
def test_an_offer_of_another_form_group_or_share_is_a_breach(body: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^protocol"):
        RelayRekey.offered(body, ROOT, (GROUP,))


@pytest.mark.parametrize(
    "change",
    [
        lambda done: b"",
        lambda done: b"\1" + done[1:],
        lambda done: done[:-1],
        lambda done: done + b"\0",
        lambda done: done[:2],
        lambda done: b"\3\0\0",
        lambda done: b"\3\0\0" + done[3:],
        lambda done: done[:-1] + bytes((done[-1] ^ 1,)),
    ],
)
def test_a_done_of_another_form_is_a_breach(change: Callable[[bytes], bytes]) -> None:
    client, relay, body = answered()
    mine = client.answered(body, ROOT, RELAY_SPKI)
    done = mine.done(sign(ALICE, contexts.PEER_REKEY, mine.digest))
    with pytest.raises(RemoteError, match=r"^protocol"):
        relay.done(change(done), PEER_SPKI)


@pytest.mark.parametrize(
    ("key", "context"), [(STRANGER, contexts.PEER_REKEY), (ALICE, contexts.RELAY_REKEY)]
)
def test_a_done_that_another_key_or_role_signed_is_a_breach(key: int, context: bytes) -> None:
    client, relay, body = answered()
    mine = client.answered(body, ROOT, RELAY_SPKI)
    with pytest.raises(RemoteError, match="wrong signature"):
        relay.done(mine.done(sign(key, context, mine.digest)), PEER_SPKI)


def test_a_done_before_the_relay_has_answered_is_a_breach() -> None:
    _, relay = offered()
    with pytest.raises(RemoteError, match="another REKEY message"):
        relay.done(b"\3\0\1x", PEER_SPKI)


@pytest.mark.parametrize("spki", [b"", b"not a key"])
def test_without_a_key_to_verify_with_nobody_rekeys(spki: bytes) -> None:
    client, relay, body = answered()
    with pytest.raises(RemoteError, match="wrong signature"):
        client.answered(body, ROOT, spki)
    mine = client.answered(body, ROOT, RELAY_SPKI)
    with pytest.raises(RemoteError, match="wrong signature"):
        relay.done(mine.done(sign(ALICE, contexts.PEER_REKEY, mine.digest)), spki)


def test_a_done_covers_the_relays_signature_too() -> None:
    client, relay, body = answered()
    mine = client.answered(body, ROOT, RELAY_SPKI)
    other = RelayRekey(relay.transcript, relay.unsigned, relay.shared, relay.digest)
    with pytest.raises(RemoteError):
        other.done(mine.done(sign(ALICE, contexts.PEER_REKEY, mine.digest)), PEER_SPKI)


# --- what a client refuses ---


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: b"\1" + body[1:],
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: body[:42],
        lambda body: body[:42] + b"\0\0",
        lambda body: body[:42] + b"\0\0" + body[44:],
        lambda body: body[:42] + b"\0\1" + body[44:],
        *(lambda body, length=length: body[:length] for length in range(1, 46)),
        lambda body: body[:3] + b"y" + body[4:],
        lambda body: body[:20] + bytes((body[20] ^ 1,)) + body[21:],
        lambda body: body[:-1] + bytes((body[-1] ^ 1,)),
    ],
)
def test_an_answer_of_another_form_is_a_breach(change: Callable[[bytes], bytes]) -> None:
    client, _, body = answered()
    with pytest.raises(RemoteError, match=r"^protocol"):
        client.answered(change(body), ROOT, RELAY_SPKI)


@pytest.mark.parametrize(
    ("key", "context"),
    [
        (STRANGER, contexts.RELAY_REKEY),
        (RELAY, contexts.PEER_REKEY),
        (RELAY, contexts.RELAY_VERIFY),
    ],
)
def test_an_answer_that_another_key_or_role_signed_is_a_breach(key: int, context: bytes) -> None:
    client, _, body = answered(key, context)
    with pytest.raises(RemoteError, match="wrong signature"):
        client.answered(body, ROOT, RELAY_SPKI)


def test_an_answer_of_another_session_is_a_breach() -> None:
    client, _, body = answered()
    with pytest.raises(RemoteError, match="wrong signature"):
        client.answered(body, RekeyRoot(b"E" * 48, b"r" * 48), RELAY_SPKI)


def signed_answer(client: ClientRekey, group: bytes, share: bytes) -> bytes:
    """An answer that the relay's own key signed, whatever it says."""
    from securerelay.protocol.transcript import Item, Transcript

    unsigned = offer_body(group, share, b"\2")
    transcript = Transcript()
    transcript.add(Item.REKEY_EXPORTER, ROOT.exporter)
    transcript.add(Item.REKEY_CLIENT, client.body)
    signature = sign(RELAY, contexts.RELAY_REKEY, transcript.add(Item.REKEY_RELAY, unsigned))
    return unsigned + len(signature).to_bytes(2, "big") + signature


def test_a_signed_answer_still_needs_the_group_and_a_share_of_its_own() -> None:
    client, _ = offered()
    assert client.answered(signed_answer(client, b"x25519", SHARE), ROOT, RELAY_SPKI)
    for group, share in (
        (b"ffdhe3072", SHARE),
        (b"x25519", client.offer.share),
        (b"x25519", bytes(32)),
        (b"x25519", SHARE[:-1]),
    ):
        with pytest.raises(RemoteError, match=r"^protocol"):
            client.answered(signed_answer(client, group, share), ROOT, RELAY_SPKI)


# --- in a session ---


def established(**changes: Any) -> Ends:
    ends = Ends.make(**changes).run()
    assert ends.established
    return ends


def test_old_keys_open_nothing_any_more() -> None:
    ends = established()
    sealer = ends.client.connection._sealer
    assert sealer is not None
    old = sealer.__class__(ends.client.connection.suite, sealer._secret)
    assert ends.client.connection.rekey()
    ends.pump()
    ends.relay.connection.receive(old.seal(Kind.DATA, b"forged"))
    assert [end.code for end in ends.relay.ends] == ["record"]
    assert ends.relay.received == b""


def test_whoever_has_the_old_keys_but_no_signing_key_does_not_get_the_new_ones() -> None:
    ends = established()
    assert ends.client.connection.rekey()
    ends.relay.connection.receive(ends.to_relay())
    ends.to_client()
    forged = b"\3\1\0" + bytes(256)
    ends.relay.connection.receive(record(ends.client.connection, Kind.REKEY, forged))
    assert [end.code for end in ends.relay.ends] == ["protocol"]
    assert ends.relay.asked[-1] == "sign"


def test_a_client_rekeys_at_most_every_60_s() -> None:
    ends = established()
    assert ends.client.connection.rekey()
    assert not ends.client.connection.rekey()
    ends.pump()
    ends.now += REKEY_INTERVAL - 0.001
    assert not ends.client.connection.rekey()
    ends.now += 0.001
    assert ends.client.connection.rekey()
    ends.pump().exchange()


def test_a_relay_ends_a_session_that_rekeys_too_often() -> None:
    ends = established()
    for wait, refused in ((0, False), (56, False), (54, True)):
        ends.now += wait
        ends.client.connection._rekeyed_at = None
        assert ends.client.connection.rekey()
        ends.pump()
        assert bool(ends.relay.ends) == refused
    assert [(end.code, end.detail) for end in ends.relay.ends] == [
        ("protocol", "REKEY too soon after the last")
    ]


def test_a_client_rekeys_by_itself_after_an_hour_or_a_gibibyte() -> None:
    ends = established()
    ends.client.connection.tick()
    ends.now += client_end.REKEY_AFTER - 1
    ends.client.connection.tick()
    ends.pump()
    assert len(ends.client.welcomes) == 1
    ends.now += 1
    ends.client.connection.tick()
    ends.pump()
    assert len(ends.client.welcomes) == 2
    ends.now += 60
    ends.client.connection.carried = client_end.REKEY_BYTES
    ends.client.connection.tick()
    ends.pump()
    assert len(ends.client.welcomes) == 3
    assert ends.client.connection.carried == 0


def begun(**relay_side: Any) -> Ends:
    """The relay has answered and waits for DONE; its answer is on the way."""
    ends = established(**relay_side)
    assert ends.client.connection.rekey()
    ends.relay.connection.receive(ends.to_relay())
    return ends


def test_the_relay_says_nothing_between_its_answer_and_done() -> None:
    ends = begun()
    relay = ends.relay.connection
    assert not relay.may_send
    assert not relay.offer(b"x")
    ends.now += 1_000_000
    assert not relay.update()
    relay.ask_rekey()
    said = ends.to_client()
    assert [kind for kind, _ in opened(ends.client.connection, said)] == [Kind.REKEY]
    relay.tick()
    (end,) = ends.relay.ends
    assert (end.code, end.orderly, end.by_peer) == ("rekey-overdue", False, False)
    assert ends.to_client() == b""


def test_a_close_of_the_relays_between_its_answer_and_done_is_a_cut() -> None:
    ends = begun()
    ends.to_client()
    ends.relay.connection.close("shutdown")
    (end,) = ends.relay.ends
    assert (end.code, end.orderly, end.by_peer) == ("shutdown", False, False)
    assert ends.to_client() == b""


def test_data_of_the_clients_may_come_until_done() -> None:
    ends = begun()
    ends.client.connection.send(b"under the old key")
    ends.relay.connection.receive(ends.to_relay())
    assert ends.relay.received == b"under the old key"
    ends.pump().exchange()


@pytest.mark.parametrize("kind", [Kind.UPDATE, Kind.REKEY])
def test_a_client_neither_updates_nor_begins_again_while_a_rekey_is_open(kind: Kind) -> None:
    ends = begun()
    assert not ends.client.connection.update()
    body = ClientRekey.begin("x25519mlkem768").body if kind == Kind.REKEY else b""
    ends.to_client()
    ends.relay.connection.receive(record(ends.client.connection, kind, body))
    assert [end.code for end in ends.relay.ends] == ["protocol"]
    assert ends.to_client() == b""


def test_an_update_of_the_relays_may_cross_the_offer() -> None:
    ends = established()
    assert ends.client.connection.rekey()
    assert ends.relay.connection.update()
    ends.pump().exchange()
    assert len(ends.client.welcomes) == 2


def waiting() -> Ends:
    """The relay has new keys, and its host is still busy with the tickets."""
    ends = established()
    ends.relay.rekeyed = lambda tickets: None  # type: ignore[method-assign]
    assert ends.client.connection.rekey()
    ends.pump()
    assert ends.relay.ends == []
    return ends


def test_the_first_record_under_the_new_keys_is_a_welcome() -> None:
    ends = waiting()
    relay = ends.relay.connection
    ends.now += 1_000
    assert not relay.may_send
    assert not relay.update()
    relay.ask_rekey()
    assert ends.to_client() == b""
    assert relay._sealer is not None
    for kind in (Kind.DATA, Kind.UPDATE, Kind.CLOSE):
        ends = waiting()
        ends.client.connection.receive(record(ends.relay.connection, kind, b"x" * (kind != 2)))
        assert [end.code for end in ends.client.ends] == ["protocol"]


def test_an_alert_may_take_the_place_of_the_welcome_and_has_its_size() -> None:
    ends = waiting()
    ends.relay.connection.alert("revoked")
    data = ends.to_client()
    assert len(data) == 2 + 4096 + 16
    ends.client.connection.receive(data)
    assert [(end.code, end.by_peer) for end in ends.client.ends] == [("revoked", True)]


def test_a_second_rekey_before_the_welcome_is_a_breach() -> None:
    ends = waiting()
    body = ClientRekey.begin("x25519mlkem768").body
    ends.relay.connection.receive(record(ends.client.connection, Kind.REKEY, body))
    assert [end.detail for end in ends.relay.ends] == ["REKEY too soon after the last"]


def test_a_signature_may_come_late_and_too_late() -> None:
    ends = established()
    ends.relay.answers = False
    assert ends.client.connection.rekey()
    ends.pump()
    relay = ends.relay.connection
    assert relay.may_send
    relay.send(b"still under the old key")
    assert not relay.update()
    ends.pump()
    assert ends.client.received == b"still under the old key"
    ends.relay.sign_now()
    ends.pump().exchange()
    ends.now += 60
    assert ends.client.connection.rekey()
    ends.pump()
    relay.close("shutdown")
    ends.relay.sign_now()
    assert [k for k, _ in opened(ends.client.connection, ends.to_client())] == [Kind.CLOSE]
    relay.lost()
    assert relay._exchange is None


def test_an_alert_may_still_go_while_the_relay_signs() -> None:
    ends = established()
    ends.relay.answers = False
    assert ends.client.connection.rekey()
    ends.pump()
    ends.relay.connection.alert("revoked")
    ends.pump()
    assert [(end.code, end.by_peer) for end in ends.client.ends] == [("revoked", True)]


def test_a_close_and_an_offer_may_cross() -> None:
    ends = established()
    ends.relay.connection.close("shutdown")
    assert ends.client.connection.rekey()
    ends.pump()
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("shutdown", True)]
    assert [(end.code, end.orderly) for end in ends.relay.ends] == [("bye", True)]
    assert ends.relay.asked.count("sign") == 1


def test_a_client_may_close_while_its_offer_is_on_the_way() -> None:
    ends = established()
    assert ends.client.connection.rekey()
    ends.client.connection.close("done")
    assert not ends.client.connection.rekey()
    ends.pump()
    assert [(end.code, end.orderly) for end in ends.relay.ends] == [("done", True)]
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("bye", True)]


def test_a_client_may_close_before_the_welcome_that_follows_a_rekey() -> None:
    ends = waiting()
    ends.client.connection.close("done")
    ends.pump()
    assert [(end.code, end.orderly) for end in ends.relay.ends] == [("done", True)]
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("bye", True)]


def test_nobody_rekeys_before_the_welcome() -> None:
    ends = Ends.make(answers=False)
    assert not ends.client.connection.rekey()
    ends.client.connection.start()
    ends.pump()
    ends.relay.sign_now()
    ends.client.connection.receive(ends.to_client())
    assert ends.client.connection.may_send
    assert not ends.client.connection.rekey()
    ends.now += 10_000
    ends.client.connection.tick()
    assert not ends.client.connection.established


def test_a_group_that_is_no_longer_permitted_is_a_breach() -> None:
    config = relay_config()
    ends = established(relay=config)
    config.groups = ("x25519",)
    assert ends.client.connection.rekey()
    ends.pump()
    assert [end.code for end in ends.client.ends] == ["protocol"]


def test_a_key_that_cannot_sign_ends_the_session_on_our_side() -> None:
    alice = credential()

    def broken(context: bytes, digest: bytes) -> bytes:
        if context == contexts.PEER_REKEY:
            raise OSError("the key has gone")
        return alice.sign(context, digest)

    ends = established(client=client_config(credential=alice.__class__(alice.certificate, broken)))
    assert ends.client.connection.rekey()
    ends.pump()
    assert [(end.code, type(end.error)) for end in ends.client.ends] == [("internal", OSError)]
