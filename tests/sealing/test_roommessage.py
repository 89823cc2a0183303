"""A room message opens for members, as its author's, under its list, and never otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import encode_items, u64
from securerelay.protocol.sealed import RoomHeader
from securerelay.sealing import plaintext, roommessage
from securerelay.sealing.envelope import Delivery
from securerelay.sealing.plaintext import Content
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.verdicts import Verdict
from tests.sealing.world import (
    ROOM_ID,
    Person,
    alice,
    bob,
    carol,
    delivery,
    message,
    refused,
    room,
    room_key,
)

LIST = room(alice(), bob())
KEY = room_key(LIST)
SALT = b"s" * 32
SAID = message(to="@team")
BODY = roommessage.seal(SAID, alice().author, KEY, SALT)


def opened(
    body: bytes,
    said: Delivery | None = None,
    keys: tuple[RoomKey, ...] = (KEY,),
    pinned: Person | None = None,
) -> Content:
    pins = {one.identity.sender_id: one.identity for one in (pinned or alice(),)}
    held = {key.id: key for key in keys}
    return roommessage.unseal(body, said or delivery(to="@team"), pins.get, held.get).content


def test_what_a_member_seals_a_member_opens() -> None:
    assert opened(BODY) == SAID
    whole = roommessage.unseal(
        BODY, delivery(to="@team"), lambda _: alice().identity, {KEY.id: KEY}.get
    )
    assert whole.sender == alice().identity


def test_it_is_a_header_then_what_aes_made_of_the_signed_plaintext() -> None:
    header = b"SRE1\2" + alice().fp[:8] + KEY.id + u64(1) + SALT
    info = b"securerelay/1 e2e room\0" + encode_items(
        [(1, header), (2, alice().fp), (3, ROOM_ID), (4, LIST.hash)]
    )
    derived = primitives.hkdf256(b"k" * 32, SALT, info, 44)
    plain = plaintext.write(SAID, alice().author, contexts.E2E_ROOM_MESSAGE, info)
    assert header + AESGCM(derived[:32]).encrypt(derived[32:], plain, info) == BODY


def test_another_salt_makes_another_key_and_nonce() -> None:
    other = roommessage.seal(SAID, alice().author, KEY, b"t" * 32)
    assert other[69:] != BODY[69:]
    assert opened(other) == SAID


def test_a_message_whose_key_is_missing_is_told_apart_from_an_altered_one() -> None:
    with refused(Verdict.KEY_MISSING):
        opened(BODY, keys=())


def test_a_sender_whom_nobody_pinned_is_not_checked_yet() -> None:
    with refused(Verdict.UNCHECKED):
        opened(BODY, pinned=carol())


def test_a_member_cannot_write_in_anothers_name() -> None:
    """Bob has alice's key like every member; only her signature is hers."""
    header = RoomHeader(alice().identity.sender_id, KEY.id, 1, SALT).encode()
    info = roommessage.binding(header, KEY)
    plain = plaintext.write(SAID, bob().author, contexts.E2E_ROOM_MESSAGE, info)
    derived = primitives.hkdf256(KEY.secret, SALT, info, 44)
    with refused(Verdict.ALTERED):
        opened(header + AESGCM(derived[:32]).encrypt(derived[32:], plain, info))


def made_by(who: Person, version: int = 1) -> bytes:
    """Return what a member writes in its own name, but under the key that alice gave it."""
    header = RoomHeader(who.identity.sender_id, KEY.id, version, SALT).encode()
    info = roommessage.binding(header, KEY)
    plain = plaintext.write(SAID, who.author, contexts.E2E_ROOM_MESSAGE, info)
    derived = primitives.hkdf256(KEY.secret, SALT, info, 44)
    return header + AESGCM(derived[:32]).encrypt(derived[32:], plain, info)


def test_a_message_under_another_members_key_is_refused() -> None:
    """Cipher and signature are right; the key is just not the one that bob gave us."""
    assert opened(made_by(alice())) == SAID
    with refused(Verdict.ALTERED):
        opened(made_by(bob()), delivery(sender="bob", to="@team"), pinned=bob())


def test_a_message_that_does_not_open_is_altered() -> None:
    with refused(Verdict.ALTERED):
        opened(BODY[:-1] + bytes((BODY[-1] ^ 1,)))


def test_a_message_that_names_another_version_than_its_key_has_is_refused() -> None:
    with refused(Verdict.ALTERED):
        opened(made_by(alice(), version=2))


@pytest.mark.parametrize("changes", [{"stream": bytes(16)}, {"seq": 8}, {"to": "@club"}])
def test_a_message_that_the_relay_names_otherwise_is_refused(changes: dict[str, object]) -> None:
    with refused(Verdict.MISDIRECTED):
        opened(BODY, delivery(**{"to": "@team", **changes}))


def test_a_message_of_another_room_under_the_same_key_is_refused() -> None:
    other = replace(KEY, room="@club")
    body = roommessage.seal(message(to="@club"), alice().author, other, SALT)
    with refused(Verdict.MISDIRECTED):
        opened(body, delivery(to="@club"))


def test_a_pin_of_another_name_does_not_speak_for_the_sender() -> None:
    with refused(Verdict.MISDIRECTED):
        opened(BODY, delivery(sender="carol", to="@team"))


@pytest.mark.parametrize("body", [b"", b"hello", BODY[:300], b"SRE1\1" + bytes(2000)])
def test_what_is_no_room_message_is_refused(body: bytes) -> None:
    with refused(Verdict.ALTERED):
        opened(body)


def test_nobody_seals_with_anothers_key_for_another_room_or_with_a_short_salt() -> None:
    for content, author, salt in (
        (SAID, bob().author, SALT),
        (message(to="@club"), alice().author, SALT),
        (SAID, alice().author, b"s"),
    ):
        with pytest.raises(ValueError, match="room key"):
            roommessage.seal(content, author, KEY, salt)
