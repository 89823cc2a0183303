"""Every secret depends on everything it should, and is of use for one thing only."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest

from securerelay.protocol import schedule

T1, T2, Z = bytes(range(48)), bytes(range(1, 49)), b"z" * 64


def label(secret: bytes, name: bytes, context: bytes, size: int = 48) -> bytes:
    """Label of the protocol for one block, by hand."""
    full = b"sr1 " + name
    info = size.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((len(context),)) + context
    return hmac.digest(secret, info + b"\x01", "sha384")[:size]


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha384")


NOTHING = bytes.fromhex(
    "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
)
"""SHA-384 of nothing."""


def test_the_schedule_is_that_of_the_protocol() -> None:
    early = extract(bytes(48), bytes(48))
    assert schedule.early(None) == early
    handshake = extract(label(early, b"derived", NOTHING), Z)
    secrets = schedule.handshake(early, Z, T1)
    assert secrets.handshake == handshake
    assert secrets.client == label(handshake, b"c hs", T1)
    assert secrets.relay == label(handshake, b"s hs", T1)
    master = extract(label(handshake, b"derived", NOTHING), bytes(48))
    session, session_id = schedule.session(handshake, T2)
    assert session.client == label(master, b"c ap", T2)
    assert session.relay == label(master, b"s ap", T2)
    assert session.resumption == label(master, b"resumption", T2)
    assert session.root.exporter == label(master, b"exporter", T2)
    assert session.root.secret == label(master, b"rekey secret", T2)
    assert session_id == label(master, b"session id", T2, 16)
    next_master = extract(label(session.root.secret, b"rekey", T1), Z)
    assert schedule.after_rekey(session.root, Z, T1).client == label(next_master, b"c ap", T1)


def test_a_ticket_enters_at_the_beginning() -> None:
    psk = b"p" * 48
    early = extract(bytes(48), psk)
    assert schedule.early(psk) == early
    key = label(label(early, b"res binder", NOTHING), b"finished", b"")
    assert schedule.binder(psk, T1) == hmac.digest(key, T1, "sha384")
    assert schedule.ticket_psk(T2, b"i" * 16) == label(T2, b"ticket client", b"i" * 16)


def test_what_seals_and_confirms_comes_from_the_traffic_secret() -> None:
    assert schedule.key_and_iv(T1) == (label(T1, b"key", b"", 32), label(T1, b"iv", b"", 12))
    assert schedule.next_traffic(T1) == label(T1, b"traffic upd", b"")
    assert schedule.finished(T1, T2) == hmac.digest(label(T1, b"finished", b""), T2, "sha384")


def everything(psk: bytes | None, shared: bytes, first: bytes, second: bytes) -> list[bytes]:
    secrets = schedule.handshake(schedule.early(psk), shared, first)
    session, session_id = schedule.session(secrets.handshake, second)
    root = session.root
    return [
        secrets.client,
        secrets.relay,
        session.client,
        session.relay,
        session.resumption,
        root.exporter,
        root.secret,
        session_id,
    ]


def test_no_two_secrets_are_alike() -> None:
    found = everything(None, Z, T1, T2)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda: everything(b"p" * 48, Z, T1, T2),
        lambda: everything(None, Z[::-1] + b"0", T1, T2),
    ],
    ids=["the ticket", "the exchange"],
)
def test_every_secret_depends_on(change: Callable[[], list[bytes]]) -> None:
    assert not set(everything(None, Z, T1, T2)) & set(change())


def test_every_secret_of_the_session_depends_on_the_whole_transcript() -> None:
    before, after = everything(None, Z, T1, T2), everything(None, Z, T1, T1)
    assert before[:2] == after[:2]
    assert not set(before[2:]) & set(after[2:])


def test_secrets_never_show() -> None:
    secrets = schedule.handshake(schedule.early(None), Z, T1)
    session, _ = schedule.session(secrets.handshake, T2)
    for one in (secrets, session, session.root):
        assert repr(one).startswith("<")
