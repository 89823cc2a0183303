"""What a relay in the wrong hands can try, and what people see of it.

Each attack is played with what the relay has: it carries, keeps, swaps and invents everything, and
its authority signs what it likes. It has no private key of any peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from securerelay.crypto import hpke, merkle, primitives
from securerelay.identity import keylog
from securerelay.identity.keylog import Kind, Leaf
from securerelay.protocol.sealed import DirectHeader
from securerelay.sealing import bundle, envelope, logview, pins, roomkey, roomlist, roommessage
from securerelay.sealing.numbers import Ledger, is_double, settles
from securerelay.sealing.plaintext import Place
from securerelay.sealing.verdicts import Rejected, Then, Verdict
from tests.keys import rsa_key
from tests.sealing.test_envelope import forged_by
from tests.sealing.test_pins import follows
from tests.sealing.world import (
    CA_SPKI,
    MS,
    RELAY_ID,
    STREAM,
    Person,
    alice,
    bob,
    carol,
    delivery,
    know,
    mallory,
    message,
    opened,
    person,
    raw_list,
    room,
    room_key,
    sealed,
)


@contextmanager
def shown(words: str, then: Then, **values: object) -> Iterator[None]:
    """Expect a refusal, in these words to people."""
    with pytest.raises(Rejected) as caught:
        yield
    assert caught.value.verdict.words(**{"peer": "bob", "room": "@team", **values}) == words
    assert caught.value.verdict.then is then


def second_bob() -> Person:
    """Whom the relay made up, with a certificate of its authority."""
    return person("bob", 66)


def test_a_substituted_bundle_blocks_sending_and_says_that_the_key_changed() -> None:
    pin = pins.verify(pins.first_sight(bob().served()))
    pin, verdict = pins.meet(pin, second_bob().served(number=MS + 1), (), MS)
    assert verdict is not None
    assert (verdict.words(peer="bob"), verdict.then) == ("bob's key changed", Then.BLOCKED)
    with shown("bob's key changed", Then.BLOCKED):
        pins.require_unblocked(pin)
    with shown("bob's key changed", Then.BLOCKED):
        bundle.check_current(second_bob().served(number=MS + 1), pin.fp, None, 0, MS)


def test_a_substituted_bundle_with_a_succession_of_the_relays_own_blocks_too() -> None:
    pin = pins.first_sight(bob().served())
    forged = follows(bob(), second_bob(), signer=second_bob())
    _, verdict = pins.meet(pin, second_bob().served(successions=[forged]), (), MS)
    assert verdict is Verdict.KEY_CHANGED


def test_a_bundle_with_a_prekey_of_the_relays_own_is_refused() -> None:
    """The certificate is bob's, so is the message key; the signature cannot be."""
    raw = bob().bundle()
    swapped = raw.replace(bob().prekey.public, mallory().prekey.public)
    with shown("the relay serves no valid keys of bob", Then.KEPT):
        bundle.read(swapped, "bob", CA_SPKI)


def test_an_older_bundle_is_refused_and_the_message_stays_in_the_outbox() -> None:
    older, newer = bob().served(), bob().served(number=MS + 1)
    with shown("the relay serves old keys of bob", Then.KEPT):
        bundle.check_current(older, bob().fp, newer, newer.number, MS)


def test_a_bundle_that_its_owner_has_replaced_is_noticed_by_the_owners_messages() -> None:
    frozen = bob().served()
    content = opened(
        sealed(message(to="alice", bundle=MS + 7), bob(), alice()),
        delivery(sender="bob", to="alice"),
        alice(),
        (bob(),),
    )
    pin = pins.hear(pins.first_sight(frozen), content.bundle)
    with shown("the relay serves old keys of bob", Then.KEPT):
        bundle.check_current(frozen, pin.fp, frozen, pin.number, MS)


def test_a_swapped_recipient_cannot_open_the_message() -> None:
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        body = sealed()
        renamed = body[:13] + carol().prekey.id + body[21:]
        opened(renamed, delivery(to="carol"), carol())


@pytest.mark.parametrize("to", ["carol", "@team"])
def test_a_message_whose_recipient_the_relay_states_otherwise_is_not_shown(to: str) -> None:
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(sealed(), delivery(to=to))


def test_a_message_that_its_sender_meant_for_another_is_not_shown() -> None:
    """Sealed for bob's key, and signed as one for carol; the relay states carol."""
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(sealed(message(to="carol")), delivery(to="carol"))


def test_a_forwarded_message_is_not_taken_for_one_to_whom_it_was_forwarded() -> None:
    """Bob opens what alice wrote to him and seals the same signed words for carol."""
    body = sealed(message(to="carol"))
    info = envelope.binding(body[:21], alice().fp, bob().fp)
    plain = hpke.unseal(bob().prekey.key, info, body[21:])
    assert plain is not None
    header = DirectHeader(alice().identity.sender_id, carol().prekey.id).encode()
    anew = envelope.binding(header, alice().fp, carol().fp)
    forwarded = header + hpke.seal(hpke.load_public(carol().prekey.public), anew, plain)
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(forwarded, delivery(to="carol"), carol())


@pytest.mark.parametrize("changes", [{"stream": STREAM[::-1]}, {"seq": 8}])
def test_a_message_moved_to_another_stream_or_seq_is_not_shown(
    changes: dict[str, object],
) -> None:
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(sealed(), delivery(**changes))


def test_a_message_swapped_for_another_of_the_same_sender_is_not_shown() -> None:
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(sealed(message(seq=9, index=4, body=b"no")), delivery(seq=7))


def test_a_replayed_message_is_dropped_without_a_word() -> None:
    accepted = set(settles(opened(sealed())))
    again = opened(sealed())
    assert is_double(again, lambda *place: place in accepted)
    assert Verdict.DUPLICATE.then is Then.SILENT


def test_a_refusal_that_was_a_lie_makes_no_double() -> None:
    accepted = set(settles(opened(sealed())))
    anew = opened(sealed(message(seq=8, index=4, replaces=Place(STREAM, 7, 3))), delivery(seq=8))
    assert is_double(anew, lambda *place: place in accepted)


def test_a_dropped_message_is_shown_as_missing_at_the_next_one() -> None:
    ledger, _ = Ledger().arrive(1)
    _, arrival = ledger.arrive(4)
    words = Verdict.MISSING.words(peer="bob", count=arrival.missing)
    assert words == "2 messages from bob missing (expired or withheld)"


def test_a_dropped_end_of_a_stream_is_shown_as_missing_at_the_next_stream() -> None:
    ledger, _ = Ledger().arrive(1)
    told = opened(sealed(message(seq=7, index=1, heads=((STREAM[::-1], 2),)))).heads
    _, arrival = ledger.told(dict(told)[STREAM[::-1]])
    assert Verdict.MISSING.words(peer="alice", count=arrival.missing) == (
        "1 message from alice missing (expired or withheld)"
    )


def test_a_room_member_added_by_the_relay_gets_no_key() -> None:
    """Neither in the owner's name, nor with an owner or a grant of the relay's own."""
    pin = roomlist.take(room(alice(), bob()), None)
    everybody = know(alice(), bob(), carol(), mallory())
    own_grant = roomlist.build_grant(mallory().author, b"r" * 16, 2, [mallory().fp])
    listeners = (alice(), bob(), mallory())
    real = raw_list(*listeners, version=2, signer=mallory(), owner=alice(), grant=own_grant)
    for raw in (real, raw_list(*listeners, version=2, signer=mallory(), owner=alice())):
        with shown("the relay serves no valid list of members of @team", Then.KEPT):
            roomlist.verify(roomlist.parse(raw, "@team"), everybody)
    taken_over = room(*listeners, version=2, owner=mallory())
    with shown("the owner of @team changed", Then.BLOCKED):
        roomlist.take(taken_over, pin)


def test_a_member_whom_the_list_names_with_a_key_of_the_relays_gets_no_key() -> None:
    bobs = {"bob": bob().fp}
    one = room(alice(), second_bob())
    ready, _, different = roomlist.recipients(one, alice().fp, bobs.get)
    assert (ready, different) == ({}, ["bob"])


def test_a_stale_membership_list_is_refused() -> None:
    pin = roomlist.take(room(alice(), bob(), version=5), None)
    with shown("the relay serves an old list of members of @team", Then.KEPT):
        roomlist.take(room(alice(), bob(), carol(), version=4), pin)


def test_two_lists_of_one_version_stop_sending() -> None:
    pin = roomlist.take(room(alice(), bob(), version=5), None)
    with shown(
        "the relay serves an old list of members of @team: two lists with one version", Then.KEPT
    ):
        roomlist.take(room(alice(), bob(), carol(), version=5), pin)


def test_a_removed_member_cannot_open_the_next_message_nor_an_added_one_the_earlier() -> None:
    before, after = room(alice(), bob()), room(alice(), carol(), version=2)
    first, second = room_key(before, secret=b"1" * 32), room_key(after, secret=b"2" * 32)
    for who, held, members in ((bob(), first, after), (carol(), second, before)):
        with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
            key = first if members is before else second
            roomkey.take(key.body(), alice().identity, who.identity, lambda _: members)  # noqa: B023
        other = second if held is first else first
        body = roommessage.seal(message(to="@team"), alice().author, other, b"s" * 32)
        with shown("1 message from alice cannot be opened yet", Then.ASKED, peer="alice"):
            roommessage.unseal(
                body,
                delivery(to="@team"),
                lambda _: alice().identity,
                {held.id: held}.get,
            )


def test_a_message_of_a_removed_member_is_not_shown() -> None:
    with shown("message of a removed member", Then.HIDDEN):
        roomlist.stand(room(alice(), carol(), version=2), 1, bob().fp)


def test_a_second_bob_whom_the_relay_certified_raises_bobs_alarm() -> None:
    leaves = [
        Leaf(Kind.ISSUED, MS, "bob", primitives.sha256(one.identity.spki), b"c" * 32)
        for one in (bob(), second_bob())
    ]
    tree = merkle.Tree(leaf.hash() for leaf in leaves)
    head = keylog.read_head(
        keylog.sign_head(rsa_key(2048, 50), RELAY_ID, len(tree), tree.root(), MS)
    )
    own = {primitives.sha256(bob().identity.spki)}
    with shown("ALARM: the relay issued a certificate for bob that is not yours", Then.ALARM):
        reading = logview.Reading(merkle.Frontier(), "bob")
        reading.take(leaf.encode() for leaf in leaves)
        reading.end(head, own)


def test_a_second_log_in_which_bob_is_another_is_shown_to_both_by_one_message() -> None:
    trees = [
        merkle.Tree([merkle.leaf_hash(b"alice"), merkle.leaf_hash(who)])
        for who in (b"bob", b"second bob")
    ]
    ours, theirs = ((len(tree), tree.root()) for tree in trees)
    told = opened(sealed(message(log_head=theirs))).log_head
    assert told is not None
    for one, other in ((ours, told), (told, ours)):
        with shown("ALARM: the relay shows different key logs to different people", Then.ALARM):
            logview.agree(one, other, None)


def test_a_thief_of_a_prekey_forges_nothing() -> None:
    """Whoever has bob's prekey reads, but has no message key of alice's to write with."""
    with shown("altered or misdirected message in alice's name", Then.HIDDEN, peer="alice"):
        opened(forged_by(mallory()))
