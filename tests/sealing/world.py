"""People of a small world, with the keys that they have: made once in a run."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from securerelay.crypto import hpke, primitives
from securerelay.sealing import bundle, envelope, roomkey, roomlist
from securerelay.sealing.bundle import Bundle
from securerelay.sealing.envelope import Delivery
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content
from securerelay.sealing.prekeys import Prekey
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.keys import NOW, authority, rsa_key

CA_SPKI = authority().spki
RELAY_ID = authority().relay_id
MS = int(NOW.timestamp() * 1000) + 60_000
HOUR = 3_600_000
DAY = 24 * HOUR
STREAM = bytes(range(16))
ROOM_ID = b"r" * 16


@dataclass(frozen=True)
class Person:
    """Somebody with an identity key, a message key and a prekey."""

    index: int
    author: Author
    certificate: bytes
    prekey: Prekey

    @property
    def identity(self) -> Identity:
        return self.author.identity

    @property
    def fp(self) -> bytes:
        return self.identity.fp

    @property
    def key(self) -> Any:
        return rsa_key(2048, self.index)

    def bundle(self, number: int = MS, issued: int = MS, **changes: Any) -> bytes:
        values: dict[str, Any] = {"prekey": self.prekey.public, **changes}
        return bundle.build(
            self.key, self.identity, self.certificate, number=number, issued=issued, **values
        )

    def served(self, **changes: Any) -> Bundle:
        return bundle.read(self.bundle(**changes), self.identity.name, CA_SPKI)


@functools.cache
def person(name: str, index: int) -> Person:
    """Return the one who has a name and the RSA key of an index; another index, other keys."""
    spki = primitives.spki(rsa_key(2048, index).public_key())
    issued = authority().issue_peer(name, spki, NOW)
    seed = primitives.sha256(name.encode(), bytes((index,)))
    identity = Identity(RELAY_ID, name, spki, primitives.ed25519_public(seed))
    return Person(index, Author(identity, seed), issued.der, Prekey.generate())


def alice() -> Person:
    return person("alice", 1)


def bob() -> Person:
    return person("bob", 2)


def carol() -> Person:
    return person("carol", 3)


def mallory() -> Person:
    return person("mallory", 4)


def message(**changes: Any) -> Content:
    """What alice says to bob."""
    return replace(
        Content(STREAM, 7, "bob", 3, MS, MS, "text/plain", b"hello"),
        **changes,
    )


def sealed(
    content: Content | None = None, sender: Person | None = None, to: Person | None = None
) -> bytes:
    """Return an envelope from alice to bob, unless told otherwise."""
    to = to or bob()
    key = hpke.load_public(to.prekey.public)
    return envelope.seal(content or message(), (sender or alice()).author, to.fp, to.prekey.id, key)


def delivery(**changes: Any) -> Delivery:
    return replace(Delivery("alice", "bob", STREAM, 7), **changes)


def opened(
    body: bytes,
    said: Delivery | None = None,
    me: Person | None = None,
    pinned: tuple[Person, ...] = (),
) -> Content:
    """Let bob open an envelope that the relay says is alice's, unless told otherwise."""
    me = me or bob()
    pins = {one.identity.sender_id: one.identity for one in pinned or (alice(),)}
    prekeys = {me.prekey.id: me.prekey.key}
    return envelope.unseal(body, said or delivery(), me.identity, pins.get, prekeys.get).content


def members_of(*people: Person) -> dict[str, bytes]:
    return {one.identity.name: one.fp for one in people}


def raw_list(
    *people: Person,
    version: int = 1,
    signer: Person | None = None,
    owner: Person | None = None,
    grant_number: int = 1,
    admins: tuple[Person, ...] = (),
    **changes: Any,
) -> bytes:
    """Return the list of @team, of alice's unless told otherwise."""
    owner = owner or alice()
    values: dict[str, Any] = {
        "name": "@team",
        "room_id": ROOM_ID,
        "version": version,
        "time": MS,
        "owner": owner.fp,
        "grant": roomlist.build_grant(
            owner.author, ROOM_ID, grant_number, [one.fp for one in admins]
        ),
        "members": members_of(*people),
        **changes,
    }
    return roomlist.build((signer or owner).author, **values)


def know(*people: Person) -> Callable[[bytes], Identity | None]:
    return {one.fp: one.identity for one in people}.get


def room(*people: Person, **changes: Any) -> RoomList:
    """Return the list of @team, verified."""
    one = roomlist.parse(raw_list(*people, **changes), "@team")
    roomlist.verify(one, know(alice(), bob(), carol(), mallory()))
    return one


def room_key(members: RoomList, sender: Person | None = None, secret: bytes = b"k" * 32) -> RoomKey:
    return roomkey.RoomKey.make((sender or alice()).fp, members, secret)


def refused(verdict: Verdict) -> Any:
    """Expect a refusal with this verdict."""
    return pytest.raises(Rejected, match=f"^{verdict.value}(:|$)")


def moment(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
