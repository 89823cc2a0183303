"""No bit of anything sealed or signed can be changed without being noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from securerelay.sealing import bundle, roomlist, roommessage, succession
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.sealing.world import (
    CA_SPKI,
    MS,
    RELAY_ID,
    alice,
    bob,
    carol,
    delivery,
    know,
    message,
    opened,
    person,
    raw_list,
    room,
    room_key,
    sealed,
)

FINE = (Verdict.ALTERED, Verdict.UNCHECKED, Verdict.UNKNOWN_PREKEY, Verdict.KEY_MISSING)


def flipped(data: bytes) -> Iterator[bytes]:
    changed = bytearray(data)
    for bit in range(8 * len(data)):
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
        changed[bit // 8] ^= 1 << bit % 8


def never_taken(data: bytes, take: Callable[[bytes], object], *verdicts: Verdict) -> None:
    take(data)
    for other in flipped(data):
        with pytest.raises(Rejected) as caught:
            take(other)
        assert caught.value.verdict in verdicts


def test_no_bit_of_an_envelope_can_be_changed() -> None:
    never_taken(sealed(), opened, *FINE)


def test_no_bit_of_a_room_message_can_be_changed() -> None:
    key = room_key(room(alice(), bob()))
    body = roommessage.seal(message(to="@team"), alice().author, key, b"s" * 32)
    pins: Any = {alice().identity.sender_id: alice().identity}
    keys: Any = {key.id: key}
    never_taken(
        body,
        lambda data: roommessage.unseal(data, delivery(to="@team"), pins.get, keys.get),
        *FINE,
    )


def test_no_bit_of_a_bundle_can_be_changed() -> None:
    step = succession.build(bob().key, bob().identity, person("bob", 12).fp, MS)
    raw = bob().bundle(successions=[step])
    never_taken(raw, lambda data: bundle.read(data, "bob", CA_SPKI), Verdict.BUNDLE_BAD)


def test_no_bit_of_a_succession_can_be_changed() -> None:
    new = person("bob", 12).fp
    step = succession.build(bob().key, bob().identity, new, MS)

    def take(data: bytes) -> None:
        steps = succession.read_all(data, RELAY_ID, "bob")
        if not succession.follow(steps, bob().fp, new, ()):
            raise Rejected(Verdict.KEY_CHANGED)

    never_taken(step, take, Verdict.BUNDLE_BAD, Verdict.KEY_CHANGED)


def test_no_bit_of_a_list_or_its_grant_can_be_changed() -> None:
    find = know(alice(), bob(), carol())

    def take(data: bytes) -> None:
        roomlist.verify(roomlist.parse(data, "@team"), find)

    raw = raw_list(alice(), bob(), carol(), signer=bob(), admins=(bob(),))
    never_taken(raw, take, Verdict.LIST_BAD, Verdict.UNCHECKED)
