"""Peers of a relay in memory who seal: enrolled there, with all the keys that they have."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from securerelay.crypto.primitives import ed25519_public, sha256
from securerelay.protocol.lines import decode, encode
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.prekeys import Prekey
from tests.keys import spki
from tests.relay.world import Guest, World, done
from tests.sealing.world import Person


@functools.cache
def prekey(name: str) -> Prekey:
    return Prekey.generate()


def citizen(world: World, name: str, key: int) -> Person:
    """Return a peer with the RSA key of an index; enrolled first if need be."""
    row = done(world.store.lookup(name))
    certificate = world.enrol(name, key) if row is None else row.certificate
    seed = sha256(name.encode(), bytes((key,)))
    identity = Identity(world.authority.relay_id, name, spki(index=key), ed25519_public(seed))
    return Person(key, Author(identity, seed), certificate.der, prekey(name))


def renewed(world: World, person: Person) -> Person:
    """Return the peer with its next certificate."""
    row = world.issue(person.identity.name, person.identity.spki)
    certificate = done(world.store.renew(row)).certificate
    world.context.keylog.changed()
    return replace(person, certificate=certificate.der)


def publish(guest: Guest, person: Person, **changes: Any) -> str:
    """Publish a bundle; returns the status of the answer."""
    return guest.call("key.publish", bundle=encode(person.bundle(**changes)))[0]


def fetched(guest: Guest, *names: str, **more: Any) -> dict[str, Any]:
    status, answer = guest.call("key.fetch", peers=list(names), **more)
    assert status == "ok", answer
    bundles: dict[str, Any] = answer["bundles"]
    return bundles


__all__ = ["citizen", "decode", "encode", "fetched", "publish", "renewed"]
