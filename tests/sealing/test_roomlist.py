"""A room's members are whom its owner and admins signed, and lists only go on."""

from __future__ import annotations

from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import encode_item, encode_items, u64
from securerelay.sealing import roomlist
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.sealing.world import (
    MS,
    ROOM_ID,
    Person,
    alice,
    bob,
    carol,
    know,
    mallory,
    members_of,
    raw_list,
    refused,
    room,
)

EVERYBODY = know(alice(), bob(), carol(), mallory())


def packed(*people: tuple[str, bytes]) -> bytes:
    return b"".join(fp + bytes((len(name),)) + name.encode() for name, fp in people)


def forged(signer: Person | None = None, /, **changes: Any) -> bytes:
    """Return alice's list with other items (``x07=...``), which she signed all the same."""
    values = {
        0x01: b"@team",
        0x02: ROOM_ID,
        0x03: u64(1),
        0x04: u64(MS),
        0x05: alice().fp,
        0x06: roomlist.build_grant(alice().author, ROOM_ID, 1, []),
        0x07: packed(("alice", alice().fp), ("bob", bob().fp)),
        0x08: alice().fp,
    }
    for name, value in changes.items():
        values[int(name[1:], 16)] = value
    unsigned = encode_items(sorted(values.items()))
    signature = (signer or alice()).author.sign(contexts.E2E_LIST, unsigned)
    return unsigned + encode_item(0x1F, signature)


def check(raw: bytes, find: Any = EVERYBODY) -> roomlist.RoomList:
    one = roomlist.parse(raw, "@team")
    roomlist.verify(one, find)
    return one


def bad(raw: bytes, why: str) -> None:
    with pytest.raises(Rejected) as caught:
        check(raw)
    assert caught.value.verdict is Verdict.LIST_BAD
    assert why in caught.value.detail


def test_a_list_has_its_items_in_order() -> None:
    assert raw_list(alice(), bob()) == forged()


def test_a_grant_has_its_items_in_order() -> None:
    grant = roomlist.build_grant(alice().author, ROOM_ID, 2, [bob().fp, carol().fp])
    unsigned = encode_items(
        [(1, ROOM_ID), (2, u64(2)), (3, b"".join(sorted([bob().fp, carol().fp])))]
    )
    assert grant == unsigned + encode_item(0x1F, alice().author.sign(contexts.E2E_GRANT, unsigned))


def test_what_was_built_is_read() -> None:
    one = room(bob(), carol(), alice(), version=3)
    assert list(one.members.items()) == sorted(members_of(alice(), bob(), carol()).items())
    assert (one.name, one.room_id, one.version, one.owner) == ("@team", ROOM_ID, 3, alice().fp)
    assert one.hash == primitives.sha384(one.raw)
    assert one.has(bob().fp)
    assert not one.has(mallory().fp)


def test_an_admin_whom_the_owner_named_may_sign() -> None:
    assert room(alice(), bob(), signer=bob(), admins=(bob(), carol())).signer == bob().fp


def test_a_mere_member_may_not_sign() -> None:
    bad(raw_list(alice(), bob(), signer=bob()), "mere member")


def test_a_list_signed_by_another_than_it_says_is_refused() -> None:
    bad(forged(mallory()), "signature")


def test_a_grant_that_the_owner_did_not_sign_is_refused() -> None:
    grant = roomlist.build_grant(mallory().author, ROOM_ID, 1, [mallory().fp])
    bad(raw_list(alice(), mallory(), signer=mallory(), owner=alice(), grant=grant), "grant")


def test_another_rooms_grant_is_refused() -> None:
    grant = roomlist.build_grant(alice().author, b"o" * 16, 1, [])
    bad(forged(x06=grant), "grant of another room")


def test_a_list_of_another_room_is_refused() -> None:
    bad(forged(x01=b"@club"), "of another room")


@pytest.mark.parametrize("who", [alice, bob])
def test_a_list_of_unknown_owner_or_signer_is_not_checked_yet(who: Any) -> None:
    raw = raw_list(alice(), bob(), signer=bob(), admins=(bob(),))
    known = [one for one in (alice(), bob()) if one is not who()]
    with refused(Verdict.UNCHECKED):
        check(raw, know(*known))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (packed(("bob", bob().fp), ("alice", alice().fp)), "out of order"),
        (packed(("bob", bob().fp), ("bob", alice().fp)), "out of order"),
        (packed(("alice", bob().fp), ("bob", bob().fp)), "one member twice"),
        (packed(("Bob", bob().fp)), "no name"),
        (packed(("", bob().fp)), "no name"),
        (packed(("bob", bob().fp))[:-1], "no name"),
        (packed(("bob", bob().fp)) + b"x", "no name"),
        (bytes(32), "no name"),
        (
            packed(*((f"p{n:03d}", n.to_bytes(32, "big")) for n in range(301))),
            "too many members",
        ),
    ],
)
def test_members_that_are_not_written_in_the_one_way_are_refused(members: bytes, why: str) -> None:
    bad(forged(x07=members), why)


def test_a_room_of_three_hundred_fits() -> None:
    people = {f"p{number:03d}": number.to_bytes(32, "big") for number in range(300)}
    one = roomlist.parse(raw_list(members=people), "@team")
    assert len(one.members) == 300
    with pytest.raises(ValueError, match="at most 300"):
        raw_list(members={**people, "one-more": bytes(32)})


def take(raw: bytes, pin: roomlist.RoomPin | None, **values: Any) -> roomlist.RoomPin:
    return roomlist.take(check(raw), pin, **values)


FIRST = raw_list(alice(), bob())


def held() -> roomlist.RoomPin:
    return take(raw_list(alice(), bob(), version=2, grant_number=2), None)


def test_the_first_list_pins_the_rooms_id_and_owner() -> None:
    pin = take(FIRST, None)
    assert (pin.room_id, pin.owner, pin.version) == (ROOM_ID, alice().fp, 1)
    assert pin.hash == primitives.sha384(FIRST)
    assert take(FIRST, pin) == pin


def test_a_newer_list_is_taken_though_some_were_never_seen() -> None:
    assert take(raw_list(alice(), version=9, grant_number=2), held()).version == 9


def test_an_older_list_or_grant_is_refused() -> None:
    for version, number in ((1, 2), (3, 1)):
        with refused(Verdict.LIST_ROLLBACK):
            take(raw_list(alice(), bob(), version=version, grant_number=number), held())


def test_two_lists_of_one_version_are_a_conflict() -> None:
    with refused(Verdict.ROOM_CONFLICT):
        take(raw_list(alice(), bob(), carol(), version=2, grant_number=2), held())


def test_two_grants_with_one_number_are_a_conflict() -> None:
    with refused(Verdict.ROOM_CONFLICT):
        take(raw_list(alice(), bob(), version=3, grant_number=2, admins=(bob(),)), held())


def test_another_room_under_the_name_is_refused() -> None:
    grant = roomlist.build_grant(alice().author, b"o" * 16, 2, [])
    with refused(Verdict.ROOM_CHANGED_HANDS):
        take(raw_list(alice(), version=9, room_id=b"o" * 16, grant=grant), held())


def test_another_owner_is_refused_unless_it_follows_the_pinned_one() -> None:
    raw = raw_list(alice(), bob(), version=9, owner=bob(), grant_number=3)
    with refused(Verdict.ROOM_CHANGED_HANDS):
        take(raw, held())
    assert take(raw, held(), successor=bob().fp).owner == bob().fp


def test_a_member_unknown_so_far_is_pinned_and_one_pinned_otherwise_gets_no_key() -> None:
    pins = {"bob": bob().fp, "carol": b"c" * 32, "alice": alice().fp}
    one = room(alice(), bob(), carol(), mallory())
    ready, unknown, different = roomlist.recipients(one, alice().fp, pins.get)
    assert (ready, unknown, different) == ({"bob": bob().fp}, ["mallory"], ["carol"])


def test_a_message_under_the_newest_list_needs_no_word() -> None:
    assert roomlist.stand(room(alice(), bob(), version=3), 3, bob().fp) is None


def test_a_message_under_an_older_list_is_marked() -> None:
    assert roomlist.stand(room(alice(), bob(), version=3), 2, bob().fp) is Verdict.OLD_LIST


def test_a_message_under_a_newer_list_waits_for_it() -> None:
    with refused(Verdict.LIST_NEEDED):
        roomlist.stand(room(alice(), bob(), version=3), 4, bob().fp)


def test_a_removed_members_message_is_not_shown() -> None:
    newest = room(alice(), bob(), version=3)
    with refused(Verdict.REMOVED_MEMBER):
        roomlist.stand(newest, 2, carol().fp)
    assert roomlist.stand(newest, 2, carol().fp, follows=[bob().fp]) is Verdict.OLD_LIST
