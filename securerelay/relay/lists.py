"""Signed lists of rooms' members, held against what a client would hold them against.

The relay cannot forge a list.  It checks them so that no member can have it serve one which the
others refuse, and thereby stop the room.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from securerelay.errors import Refused, RemoteError
from securerelay.sealing import bundle, roomlist
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.roomlist import RoomList
from securerelay.store.interface import Store
from securerelay.store.rows import RoomRow


async def check(store: Store, ca_spki: bytes, row: RoomRow, caller: str, one: RoomList) -> None:
    """Check the next list of a room.

    Args:
        store: has the bundles, and the list before.
        ca_spki: the key of the relay's authority, SubjectPublicKeyInfo in DER.
        row: the room.
        caller: who brings the list, and must be its signer.
        one: the list.

    Raises:
        Refused: ``list-bad`` if owner or signer are others than it says.
        Rejected: what :func:`roomlist.verify` and :func:`roomlist.take` find.
    """
    known = await _identities(store, ca_spki, {row.owner, caller})
    roomlist.verify(one, {identity.fp: identity for identity in known.values()}.get)
    for fp, name in ((one.owner, row.owner), (one.signer, caller)):
        if name not in known or fp != known[name].fp or one.members.get(name) != fp:
            raise Refused("list-bad", "the owner or the signer is not who the list says")
    before = await store.room_list(row.name)
    if before is not None:
        pin = roomlist.take(roomlist.parse(before.raw, row.name), None)
        roomlist.take(one, pin, successor=one.owner)


async def _identities(store: Store, ca_spki: bytes, names: Collection[str]) -> dict[str, Identity]:
    """Return who those are that published a bundle."""
    found = {}
    for name, published in (await store.published(sorted(names))).items():
        identity = _identity(published.bundle, name, ca_spki)
        if identity is not None:
            found[name] = identity
    return found


@functools.lru_cache(maxsize=256)  # who signs one list after another costs no RSA each time
def _identity(raw: bytes, name: str, ca_spki: bytes) -> Identity | None:
    try:
        return bundle.read(raw, name, ca_spki).identity
    except RemoteError:
        return None
