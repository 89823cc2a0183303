"""Rows to put into stores, and how to take an answer out of a Deferred."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay.crypto.primitives import sha256
from securerelay.store.interface import Store
from securerelay.store.lane import InlineLane
from securerelay.store.rows import Append, CertificateRow, InvitationRow, PeerRow, TicketRow
from securerelay.store.sqlite import SqliteStore

T = TypeVar("T")

DAY = 24 * 3600 * 1000
NOW = 1_800_000_000_000
LATER = NOW + DAY
STREAM = "A" * 22
WRAP_KEY = bytes(range(32))


def result(answer: Deferred[T]) -> T:
    """What a Deferred that has fired holds; raises what it failed with."""
    found: list[Any] = []
    answer.addBoth(found.append)
    assert found, "not answered yet"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


def pending(answer: Deferred[Any]) -> bool:
    return not answer.called


def on_disk(folder: Path, **options: Any) -> SqliteStore:
    """A store on disk that answers at once."""
    options.setdefault("lane", InlineLane)
    return SqliteStore(folder, WRAP_KEY, lambda f, *args: f(*args), **options)


class Lanes:
    """Makes inline lanes and remembers them by name."""

    def __init__(self) -> None:
        self.made: dict[str, InlineLane[Any]] = {}

    def __call__(self, work: Any, name: str) -> InlineLane[Any]:
        self.made[name] = InlineLane(work, name)
        return self.made[name]


def certificate(name: str, number: int = 1, key: int = 1, not_after: int = LATER) -> CertificateRow:
    der = f"certificate {number} of {name} with key {key}".encode()
    spki = f"key {key} of {name}".encode()
    serial = (1 << 159) + number
    return CertificateRow(name, der, sha256(der), spki, serial, not_after, NOW + number)


def invitation(name: str, token: bytes = b"tokens", expiry: int = LATER) -> InvitationRow:
    return InvitationRow(token, bytes(32), name, ("admin", "inviter"), expiry, NOW, "alice")


def enrol(store: Store, name: str, token: bytes | None = None) -> PeerRow:
    token = sha256(name.encode())[:6] if token is None else token
    result(store.invite(replace(invitation(name, token), roles=())))
    return result(store.consume(token, certificate(name), NOW)).peer


def ticket(name: str, number: int = 1, **changes: Any) -> TicketRow:
    row = TicketRow(
        sha256(b"%d" % number),
        bytes([number]) * 48,
        name,
        certificate(name).sha256,
        NOW,
        LATER,
        b"session of 16 by",
    )
    return replace(row, **changes)


def message(
    seq: int,
    *recipients: tuple[str, int],
    sender: str = "alice",
    body: bytes | None = None,
    **changes: Any,
) -> Append:
    """A message from alice's only stream, or several from ``seq`` on."""
    row = Append(
        sender=sender,
        stream=STREAM,
        seq=seq,
        to=recipients[0][0] if recipients else "nobody",
        recipients=recipients,
        time=NOW,
        expiry=LATER,
        receipt=False,
        bodies=(b"message %d" % seq if body is None else body,),
    )
    return row._replace(**changes)
