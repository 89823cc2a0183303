"""A pin moves where its old key says so, and blocks in every other case."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import encode_item
from securerelay.sealing import pins, succession
from securerelay.sealing.bundle import Bundle
from securerelay.sealing.fingerprint import sign_as_identity
from securerelay.sealing.pins import Level, Pin
from securerelay.sealing.verdicts import Verdict
from tests.sealing.world import DAY, MS, Person, alice, bob, carol, person, refused

bob2 = functools.partial(person, "bob", 12)
bob3 = functools.partial(person, "bob", 13)


def follows(old: Person, new: Person, signer: Person | None = None) -> bytes:
    return succession.build((signer or old).key, old.identity, new.fp, MS)


@functools.cache
def served(who: Person, *successions: bytes) -> Bundle:
    return who.served(number=MS + 1, successions=successions)


def meet(pin: Pin, bundle: Bundle, **values: Any) -> tuple[Pin, Verdict | None]:
    return pins.meet(pin, bundle, **{"revoked": (), "now": MS, **values})


def pinned(level: Level = Level.VERIFIED) -> Pin:
    return replace(pins.first_sight(bob().served()), level=level)


def test_whoever_is_met_first_is_pinned_as_seen() -> None:
    pin = pins.first_sight(bob().served())
    assert (pin.identity, pin.level, pin.number) == (bob().identity, Level.SEEN, MS)


def test_somebody_whom_a_room_lists_with_another_key_is_not_pinned() -> None:
    assert pins.first_sight(bob().served(), bob().fp).fp == bob().fp
    with refused(Verdict.MEMBER_KEY_DIFFERS):
        pins.first_sight(bob().served(), bob2().fp)


def test_the_same_fingerprint_changes_nothing() -> None:
    assert meet(pinned(), bob().served()) == (pinned(), None)


def test_another_key_blocks_sending_and_is_shown() -> None:
    pin, verdict = meet(pinned(), served(bob2()))
    assert verdict is Verdict.KEY_CHANGED
    assert (pin.fp, pin.blocked) == (bob().fp, bob2().identity)
    with refused(Verdict.KEY_CHANGED):
        pins.require_unblocked(pin)


def test_the_pinned_key_served_again_goes_on() -> None:
    blocked, _ = meet(pinned(), served(bob2()))
    pin, verdict = meet(blocked, bob().served())
    assert verdict is None
    pins.require_unblocked(pin)


def test_a_user_may_accept_the_new_key_but_it_is_not_verified_by_that() -> None:
    blocked, _ = meet(pinned(), served(bob2()))
    pin = pins.accept_new_key(blocked)
    assert (pin.fp, pin.level, pin.blocked) == (bob2().fp, Level.SEEN, None)
    assert pin.number == 0
    assert pins.sender(pin, bob().identity.sender_id, MS) is None
    with pytest.raises(ValueError, match="no new key"):
        pins.accept_new_key(pin)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Level.SEEN, Level.SEEN),
        (Level.VERIFIED, Level.CHANGED),
        (Level.CHANGED, Level.CHANGED),
    ],
)
def test_a_key_that_the_old_one_signed_is_followed(before: Level, after: Level) -> None:
    pin, verdict = meet(pinned(before), served(bob2(), follows(bob(), bob2())))
    assert verdict is Verdict.KEY_FOLLOWED
    assert (pin.fp, pin.level, pin.number, pin.blocked) == (bob2().fp, after, MS + 1, None)
    assert pins.verify(pin).level is Level.VERIFIED


def test_several_steps_are_followed_in_order() -> None:
    steps = follows(bob(), bob2()), follows(bob2(), bob3())
    assert meet(pinned(), served(bob3(), *steps))[0].fp == bob3().fp
    later = replace(pinned(), identity=bob2().identity)
    assert meet(later, served(bob3(), *steps))[0].fp == bob3().fp


@pytest.mark.parametrize(
    "steps",
    [
        lambda: [follows(bob2(), bob3()), follows(bob(), bob2())],
        lambda: [follows(bob2(), bob3())],
        lambda: [follows(bob(), bob2())],
        lambda: [follows(bob(), bob3(), signer=alice())],
        lambda: [follows(bob(), bob2()), follows(bob2(), bob3(), signer=alice())],
        lambda: [follows(alice(), bob3())],
    ],
    ids=["out of order", "without beginning", "without end", "forged", "forged later", "foreign"],
)
def test_steps_that_do_not_lead_from_the_pin_to_the_new_key_block(steps: Any) -> None:
    pin, verdict = meet(pinned(), served(bob3(), *steps()))
    assert verdict is Verdict.KEY_CHANGED
    assert pin.blocked == bob3().identity


def test_the_first_successor_wins() -> None:
    steps = follows(bob(), bob2()), follows(bob(), bob3())
    assert meet(pinned(), served(bob3(), *steps))[1] is Verdict.KEY_CHANGED
    moved, _ = meet(pinned(), served(bob2(), steps[0]))
    assert meet(moved, served(bob3(), steps[1]))[1] is Verdict.KEY_CHANGED


def test_a_revoked_key_has_no_successor() -> None:
    revoked = {primitives.sha256(bob().identity.spki)}
    bundle = served(bob2(), follows(bob(), bob2()))
    assert meet(pinned(), bundle, revoked=revoked)[1] is Verdict.KEY_CHANGED


def test_the_old_key_still_opens_messages_for_sixteen_days() -> None:
    pin, _ = meet(pinned(), served(bob2(), follows(bob(), bob2())))
    assert pins.sender(pin, bob2().identity.sender_id, MS) == bob2().identity
    assert pins.sender(pin, bob().identity.sender_id, MS + 16 * DAY - 1) == bob().identity
    assert pins.sender(pin, bob().identity.sender_id, MS + 16 * DAY) is None
    assert pins.sender(pin, alice().identity.sender_id, MS) is None


def test_the_keys_from_before_a_succession_are_not_taken_back() -> None:
    pin, _ = meet(pinned(), served(bob2(), follows(bob(), bob2())))
    with refused(Verdict.BUNDLE_ROLLBACK):
        meet(pin, bob().served())


def test_a_pin_is_never_held_against_somebody_elses_bundle() -> None:
    with pytest.raises(ValueError, match="somebody else"):
        meet(pinned(), carol().served())


def test_numbers_that_messages_tell_only_rise() -> None:
    assert pins.hear(pinned(), MS + 9).number == MS + 9
    assert pins.hear(pinned(), 1).number == MS


def test_more_than_four_successions_or_broken_ones_make_a_bad_bundle() -> None:
    step = follows(bob(), bob2())
    for data in (step * 5, step[:-1], step + b"\1", b"\2" + step[1:], step[5:]):
        with refused(Verdict.BUNDLE_BAD):
            succession.read_all(data, bob().identity.relay_id, "bob")
    assert len(succession.read_all(step * 4, bob().identity.relay_id, "bob")) == 4


def test_a_bundle_tells_the_newest_four_successions() -> None:
    step = follows(bob(), bob2())
    assert len(bob2().served(successions=[step] * 6).successions) == 4


def test_a_succession_may_have_items_of_a_later_version_if_they_are_signed() -> None:
    step = follows(bob(), bob2())
    unsigned = step[: step.rindex(b"\x05\0\0\1\0")]
    extra = encode_item(0x80, b"new")
    good = unsigned + encode_item(
        5, sign_as_identity(bob().key, contexts.E2E_SUCCESSION, unsigned + extra)
    )
    for data, holds in ((good + extra, True), (step + extra, False)):
        one, other = succession.read_all(data + step, bob().identity.relay_id, "bob")
        assert one.holds() is holds
        assert other.holds()


def test_former_identities_are_bounded_and_the_first_one_stays() -> None:
    """All that a contact sends is counted under its first identity."""
    pin, first = pinned(), bob().identity
    for count in range(pins.MOST_FORMER + 4):
        old, new = pin.identity, replace(first, message_key=bytes((count,)) * 32)
        raw = succession.build(bob().key, old, new.fp, MS)
        told = succession.read_all(raw, old.relay_id, old.name)
        bundle = replace(served(bob()), identity=new, successions=told)
        pin, verdict = meet(pin, bundle)
        assert verdict is Verdict.KEY_FOLLOWED
    assert len(pin.former) == pins.MOST_FORMER
    assert pin.former[-1].identity == first
    assert pin.former[0].identity.message_key == bytes((pins.MOST_FORMER + 2,)) * 32
