"""A relay that keeps two logs, or a second key for a name in its one log, is seen."""

from __future__ import annotations

import pytest

from securerelay.crypto import merkle, primitives
from securerelay.identity import keylog
from securerelay.identity.keylog import Head, Kind, Leaf
from securerelay.sealing import logview
from securerelay.sealing.verdicts import Verdict
from tests.keys import rsa_key
from tests.sealing.world import MS, RELAY_ID, Person, alice, bob, carol, mallory, refused

RELAY_KEY = rsa_key(2048, 50)


def leaf_of(who: Person, kind: Kind = Kind.ISSUED, name: str | None = None) -> Leaf:
    return Leaf(
        kind,
        MS,
        name or who.identity.name,
        primitives.sha256(who.identity.spki),
        primitives.sha256(who.certificate),
    )


LEAVES = [leaf_of(one) for one in (alice(), bob(), carol())]
SECOND_BOB = leaf_of(mallory(), name="bob")
OWN = {primitives.sha256(bob().identity.spki)}


def log(*leaves: Leaf) -> merkle.Tree:
    return merkle.Tree(leaf.hash() for leaf in leaves)


def head(*leaves: Leaf) -> Head:
    tree = log(*leaves)
    raw = keylog.sign_head(RELAY_KEY, RELAY_ID, len(tree), tree.root(), MS)
    return logview.read_head(raw, RELAY_ID, RELAY_KEY.public_key())


def sight(*leaves: Leaf) -> tuple[int, bytes]:
    tree = log(*leaves)
    return len(tree), tree.root()


def test_a_head_is_taken_from_our_relay_alone() -> None:
    raw = keylog.sign_head(RELAY_KEY, RELAY_ID, 0, merkle.EMPTY_ROOT, MS)
    public = RELAY_KEY.public_key()
    assert logview.read_head(raw, RELAY_ID, public).size == 0
    for data, relay_id, key in (
        (raw, b"o" * 32, public),
        (raw, RELAY_ID, rsa_key(2048, 1).public_key()),
        (raw[:-1], RELAY_ID, public),
    ):
        with refused(Verdict.LOG_BAD):
            logview.read_head(data, relay_id, key)


def test_two_sights_of_one_log_agree_once_consistency_is_proven() -> None:
    small, large = sight(*LEAVES[:2]), sight(*LEAVES)
    proof = log(*LEAVES).consistency(2, 3)
    assert logview.agree(small, small, None)
    assert not logview.agree(small, large, None)
    assert logview.agree(small, large, proof)
    assert logview.agree(large, small, proof)


def test_two_heads_of_one_size_with_other_roots_are_a_split_log() -> None:
    with refused(Verdict.SPLIT_LOG):
        logview.agree(sight(*LEAVES), sight(*LEAVES[:2], SECOND_BOB), None)


def test_a_log_that_does_not_begin_with_the_one_seen_is_a_split_log() -> None:
    ours, theirs = sight(*LEAVES[:2]), sight(alice_leaf := LEAVES[0], SECOND_BOB, LEAVES[2])
    proof = log(alice_leaf, SECOND_BOB, LEAVES[2]).consistency(2, 3)
    with refused(Verdict.SPLIT_LOG):
        logview.agree(ours, theirs, proof)


def test_a_contacts_certificate_is_found_in_the_log() -> None:
    tree = log(*LEAVES)
    logview.check_inclusion(head(*LEAVES), LEAVES[1], 1, tree.inclusion(1, 3))
    for leaf, index in ((SECOND_BOB, 1), (LEAVES[1], 2)):
        with refused(Verdict.LOG_BAD):
            logview.check_inclusion(head(*LEAVES), leaf, index, tree.inclusion(1, 3))


def test_a_leaf_has_to_be_about_the_certificate_that_is_used() -> None:
    spki, certificate = LEAVES[1].spki_sha256, LEAVES[1].certificate_sha256
    logview.certifies(LEAVES[1], "bob", spki, certificate)
    for leaf in (LEAVES[0], SECOND_BOB, leaf_of(bob(), Kind.REVOKED)):
        with refused(Verdict.LOG_BAD):
            logview.certifies(leaf, "bob", spki, certificate)


def extend(known: merkle.Frontier, *leaves: Leaf, to: Head) -> tuple[Leaf, ...]:
    reading = logview.Reading(known, "bob")
    for leaf in leaves:
        reading.take([leaf.encode()])
    reached, mine = reading.end(to, OWN)
    assert (len(reached), reached.root()) == (to.size, to.root)
    return mine


def test_our_own_leaves_are_found_among_all_that_are_new() -> None:
    assert extend(merkle.Frontier(), *LEAVES, to=head(*LEAVES)) == (LEAVES[1],)
    known = merkle.Frontier()
    known.append(LEAVES[0].hash())
    assert extend(known, *LEAVES[1:], to=head(*LEAVES)) == (LEAVES[1],)
    assert len(known) == 1


def test_a_certificate_in_our_name_that_is_not_ours_raises_the_alarm() -> None:
    with refused(Verdict.FOREIGN_LEAF):
        extend(merkle.Frontier(), *LEAVES, SECOND_BOB, to=head(*LEAVES, SECOND_BOB))


def test_our_own_revocation_and_renewal_are_no_alarm() -> None:
    own = [leaf_of(bob()), leaf_of(bob(), Kind.REVOKED), leaf_of(bob(), Kind.CLOSED)]
    assert len(extend(merkle.Frontier(), *own, to=head(*own))) == 3


@pytest.mark.parametrize("leaves", [LEAVES[:2], [*LEAVES, SECOND_BOB], LEAVES[::-1]])
def test_leaves_that_do_not_lead_to_the_signed_head_are_a_split_log(leaves: list[Leaf]) -> None:
    with refused(Verdict.SPLIT_LOG):
        extend(merkle.Frontier(), *leaves, to=head(*LEAVES))


def test_a_log_of_more_leaves_than_anybody_reads_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = keylog.sign_head(RELAY_KEY, RELAY_ID, logview.MOST_LEAVES, b"r" * 32, MS)
    assert logview.read_head(longest, RELAY_ID, RELAY_KEY.public_key()).root == b"r" * 32
    for size in (logview.MOST_LEAVES + 1, 1 << 62):
        raw = keylog.sign_head(RELAY_KEY, RELAY_ID, size, b"r" * 32, MS)
        with refused(Verdict.LOG_BAD):
            logview.read_head(raw, RELAY_ID, RELAY_KEY.public_key())
    monkeypatch.setattr(logview, "MOST_TOLD", 2)
    reading = logview.Reading(merkle.Frontier(), "bob")
    ended = leaf_of(bob(), Kind.REVOKED).encode()
    reading.take([ended, ended])
    with refused(Verdict.LOG_BAD):
        reading.take([ended])


def test_what_is_no_leaf_is_refused() -> None:
    with refused(Verdict.LOG_BAD):
        logview.Reading(merkle.Frontier(), "bob").take([b"junk"])
