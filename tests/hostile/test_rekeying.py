"""Inside a session: new keys by UPDATE and REKEY, at wrong times, too often, and not finished."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from tests import keys
from tests.hostile import independent as sr1
from tests.hostile.answers import BYE, PING, PROTOCOL, SILENCE, heard
from tests.hostile.siege import Siege, everything, told

# --- UPDATE ---


def test_a_burst_of_updates_is_allowed_and_a_flood_is_a_breach(siege: Siege) -> None:
    client = siege.enter(siege.canary)
    for _ in range(16):
        client.update()
    client.send(PING)
    assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()
    client = siege.enter(siege.canary)
    with contextlib.suppress(ConnectionError):
        for _ in range(2000):
            client.update()
    assert heard(client) == PROTOCOL


def test_several_updates_may_come_in_one_segment(client: sr1.Client) -> None:
    said = b""
    for _ in range(3):
        said += client.session.out.seal(sr1.UPDATE, b"")
        client.session.out.update()
    client.wire.sendall(said + client.session.out.seal(sr1.DATA, PING))
    assert client.receive() == sr1.Message("PONG", ("x",))
    client.close()


def test_going_on_under_the_old_key_after_an_update_ends_the_session(client: sr1.Client) -> None:
    out = client.session.out
    assert heard(client, out.seal(sr1.UPDATE, b"") + out.seal(sr1.DATA, PING)) == SILENCE


def test_a_new_key_without_an_update_ends_the_session(client: sr1.Client) -> None:
    client.session.out.update()
    assert heard(client, client.session.out.seal(sr1.DATA, PING)) == SILENCE


# --- REKEY ---


def offer(client: sr1.Client, group: str = "x25519mlkem768") -> bytes:
    return client.session.rekey_offer(group)


def test_a_rekey_right_after_another_is_a_breach(client: sr1.Client) -> None:
    client.rekey()
    client.send_record(sr1.REKEY, offer(client))
    assert told(lambda: client._await(sr1.REKEY)) == ("alert", "protocol")
    client.wire.close()


@pytest.mark.parametrize(
    "what",
    [
        "a group nobody permits",
        "an unknown group",
        "a bad share",
        "a short share",
        "a byte behind",
        "a confirmation",
        "an answer",
        "nothing",
        "noise",
        "zeros",
    ],
)
def test_a_malformed_rekey_is_a_breach(client: sr1.Client, what: str) -> None:
    good = offer(client)
    body = {
        "a group nobody permits": b"\x01" + sr1._exchange("x25519", sr1.Ephemeral("x25519").share),
        "an unknown group": b"\x01" + sr1._exchange("x448", bytes(56)),
        "a bad share": good[:20] + b"\xff" * (len(good) - 20),
        "a short share": good[:-1],
        "a byte behind": good + b"\0",
        "a confirmation": b"\x03" + sr1.u16(256) + bytes(256),
        "an answer": b"\x02" + good[1:],
        "nothing": b"",
        "noise": os.urandom(1000),
        "zeros": bytes(15_000),
    }[what]
    (answer,) = heard(client, client.session.out.seal(sr1.REKEY, body))
    assert answer == PROTOCOL[0]


def test_a_rekey_is_confirmed_by_the_peers_key_and_nothing_else(siege: Siege) -> None:
    for index, context in ((9, sr1.PEER_REKEY), (1, sr1.RELAY_REKEY), (1, sr1.PEER_VERIFY)):
        client = siege.enter(siege.canary)
        client.send_record(sr1.REKEY, offer(client))
        body = client._await(sr1.REKEY)
        sign = sr1.signer(keys.rsa_key(2048, index))
        assert client.core is not None
        wrong = client.session.rekey_confirm(
            body, client.core.relay_spki, lambda _, digest, s=sign, c=context: s(c, digest)
        )
        # Until both have confirmed, the relay says nothing under keys that may be a stranger's.
        client.wire.sendall(wrong)
        assert everything(client.wire) == b""  # type: ignore[arg-type]
        client.wire.close()


def test_the_relays_signature_does_not_confirm_for_the_peer(client: sr1.Client) -> None:
    client.send_record(sr1.REKEY, offer(client))
    body = client._await(sr1.REKEY)
    _, at = sr1._part(body, 1, 1)
    _, at = sr1._part(body, at, 2)
    signature, _ = sr1._part(body, at, 2)
    done = b"\x03" + sr1.u16(len(signature)) + signature
    assert heard(client, client.session.out.seal(sr1.REKEY, done)) == SILENCE


def test_an_update_within_a_rekey_is_a_breach(client: sr1.Client) -> None:
    client.send_record(sr1.REKEY, offer(client))
    client._await(sr1.REKEY)
    assert heard(client, client.session.out.seal(sr1.UPDATE, b"")) == SILENCE


def test_a_second_offer_within_a_rekey_is_a_breach(client: sr1.Client) -> None:
    first, second = offer(client), offer(client)
    client.send_record(sr1.REKEY, first)
    client._await(sr1.REKEY)
    assert heard(client, client.session.out.seal(sr1.REKEY, second)) == SILENCE


def test_the_old_keys_open_nothing_after_a_rekey(client: sr1.Client) -> None:
    old = client.session.out
    client.rekey()
    assert heard(client, old.seal(sr1.DATA, PING)) == SILENCE


def test_a_rekey_in_the_middle_of_a_message_cuts_nothing(client: sr1.Client) -> None:
    """What comes before the confirmation is under the old keys; the relay answers under the new."""
    said = sr1.encode("CALL", "t", "peer.list", body=b"{}" + b" " * 40_000)
    pieces = [said[at : at + 10_000] for at in range(0, len(said), 10_000)]
    client.send_record(sr1.DATA, pieces[0])
    client.send_record(sr1.REKEY, offer(client))
    client.send_record(sr1.DATA, pieces[1])
    body = client._await(sr1.REKEY)
    client.send_record(sr1.DATA, pieces[2])
    sign = sr1.signer(keys.rsa_key(2048, 1))
    assert client.core is not None
    client.wire.sendall(client.session.rekey_confirm(body, client.core.relay_spki, sign))
    assert client.receive_record()[0] == sr1.WELCOME
    for piece in pieces[3:]:
        client.send_record(sr1.DATA, piece)
    assert client.receive().tokens == ("t", "ok")
    client.close()


@pytest.mark.parametrize("answered", [False, True])
def test_a_session_may_end_within_a_rekey(siege: Siege, answered: bool) -> None:
    for kind, said in ((sr1.CLOSE, BYE), (sr1.ALERT, SILENCE)):
        client = siege.enter(siege.canary)
        record = client.session.out.seal(sr1.REKEY, offer(client))
        end = client.session.out.seal(kind, b"internal")
        if answered:
            client.wire.sendall(record)
            client._await(sr1.REKEY)
            assert heard(client, end) == said
        else:
            found = heard(client, record + end)
            assert [one for one in found if one[0] != sr1.REKEY] == said


def test_offers_and_confirmations_in_one_segment_are_a_breach(siege: Siege) -> None:
    for more in (b"\x01", b"\x03" + sr1.u16(256) + bytes(256)):
        client = siege.enter(siege.canary)
        first = offer(client)
        second = offer(client) if more == b"\x01" else more
        out = client.session.out
        found = heard(client, out.seal(sr1.REKEY, first) + out.seal(sr1.REKEY, second))
        assert [one for one in found if one[0] != sr1.REKEY] in (SILENCE, PROTOCOL)


def test_a_rekey_that_is_never_finished_harms_nobody(siege: Siege, client: sr1.Client) -> None:
    client.send_record(sr1.REKEY, offer(client))
    client._await(sr1.REKEY)
    client.send(PING)  # the client may go on; the relay keeps its answer back
    time.sleep(0.2)
    siege.round_trip()
    client.wire.close()
