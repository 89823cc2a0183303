"""Names, certificates, revocations, the key log: the same in every store."""

from __future__ import annotations

import pytest

from securerelay.crypto.primitives import sha256
from securerelay.errors import Refused
from securerelay.store import successors
from securerelay.store.interface import StorageStopped, Store
from securerelay.store.rows import LogRow, Revocation
from tests.store.samples import (
    LATER,
    NOW,
    certificate,
    enrol,
    invitation,
    on_disk,
    result,
    ticket,
)


def test_a_name_nobody_has_is_not_found(store: Store):
    assert result(store.lookup("alice")) is None
    assert result(store.peers()) == []


def test_an_enrolled_peer_is_found_with_its_certificate(store: Store):
    alice = enrol(store, "alice")
    assert result(store.lookup("alice")) == alice
    assert alice.certificate == certificate("alice")
    assert (alice.state, alice.created, alice.ended, alice.revision) == ("active", NOW, None, 0)


def test_peers_are_listed_by_name(store: Store):
    for name in ("carol", "alice", "bob"):
        enrol(store, name)
    assert [peer.name for peer in result(store.peers())] == ["alice", "bob", "carol"]


def test_certificates_are_listed_in_the_order_of_issue(store: Store):
    enrol(store, "alice")
    enrol(store, "bob")
    result(store.renew(certificate("alice", 2)))
    rows = [certificate("alice"), certificate("bob"), certificate("alice", 2)]
    assert result(store.issued()) == rows
    assert result(store.issued("alice")) == [rows[0], rows[2]]
    assert result(store.issued("carol")) == []


def test_only_current_certificates_of_active_peers_are_listed_as_expiring(store: Store):
    for name in ("alice", "bob", "carol"):
        enrol(store, name)
    result(store.renew(certificate("alice", 2, not_after=LATER + 10)))
    result(store.revoke("bob", NOW))
    assert result(store.expiring(LATER)) == []
    assert result(store.expiring(LATER + 1)) == [certificate("carol")]
    both = [certificate("carol"), certificate("alice", 2, not_after=LATER + 10)]
    assert result(store.expiring(LATER + 11)) == both


def test_a_renewed_certificate_replaces_the_old_one(store: Store):
    enrol(store, "alice")
    renewed = result(store.renew(certificate("alice", 2)))
    assert renewed.certificate == certificate("alice", 2)
    assert result(store.lookup("alice")) == renewed


def test_who_is_unknown_or_revoked_renews_nothing(store: Store):
    with pytest.raises(Refused) as error:
        result(store.renew(certificate("alice")))
    assert error.value.code == "unknown"
    enrol(store, "alice")
    result(store.revoke("alice", NOW))
    with pytest.raises(Refused) as error:
        result(store.renew(certificate("alice", 2)))
    assert error.value.code == "revoked"
    assert result(store.issued()) == [certificate("alice")]


def test_a_renewal_kills_the_tickets_of_the_old_certificate(store: Store):
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))
    result(store.renew(certificate("alice", 2)))
    assert result(store.ticket_take(ticket("alice").id_sha256, NOW, lambda _: None)) is None


class TestTheNextKey:
    def refused(self, store: Store, *row: int) -> str:
        with pytest.raises(Refused) as error:
            result(store.issue(certificate("alice", *row)))
        return error.value.code

    def may_not_follow(self, store: Store, number: int, key: int) -> None:
        with pytest.raises(Refused, match=r"^revoked"):
            result(store.succeed("alice", certificate("alice", number, key).sha256))

    def test_has_a_certificate_while_the_present_one_stays(self, store: Store):
        alice = enrol(store, "alice")
        result(store.ticket_put([ticket("alice")]))
        following = certificate("alice", 2, key=2)
        assert result(store.issue(following)) == following
        assert result(store.lookup("alice")) == alice
        assert result(store.issued("alice")) == [alice.certificate, following]
        assert [row.kind for row in result(store.key_log(0, 9))] == ["issued", "issued"]
        assert result(store.key_log(1, 1))[0].spki_sha256 == sha256(following.spki)
        assert result(store.ticket_take(ticket("alice").id_sha256, NOW, lambda _: None))

    def test_takes_the_place_of_the_present_one_with_its_tickets(self, store: Store):
        enrol(store, "alice")
        result(store.ticket_put([ticket("alice")]))
        following = certificate("alice", 2, key=2)
        result(store.issue(following))
        peer = result(store.succeed("alice", following.sha256))
        assert peer.certificate == following
        assert result(store.lookup("alice")) == peer
        assert result(store.ticket_take(ticket("alice").id_sha256, NOW, lambda _: None)) is None

    def test_has_the_same_certificate_however_often_it_is_asked_for(self, store: Store):
        enrol(store, "alice")
        first = result(store.issue(certificate("alice", 2, key=2)))
        assert result(store.issue(certificate("alice", 3, key=2))) == first
        result(store.succeed("alice", first.sha256))
        assert result(store.issue(certificate("alice", 4, key=2))) == first
        assert len(result(store.issued())) == 2

    def test_that_was_followed_never_comes_back(self, store: Store):
        enrol(store, "alice")
        result(store.succeed("alice", result(store.issue(certificate("alice", 2, 2))).sha256))
        assert self.refused(store, 3, 1) == "key-used"
        self.may_not_follow(store, 1, 1)
        with pytest.raises(Refused, match=r"^revoked"):
            result(store.renew(certificate("alice", 4, 1)))

    def test_follows_though_the_present_certificate_was_renewed_meanwhile(self, store: Store):
        enrol(store, "alice")
        following = result(store.issue(certificate("alice", 2, key=2)))
        result(store.renew(certificate("alice", 3)))
        assert result(store.issue(certificate("alice", 4, key=2))) == following
        self.may_not_follow(store, 9, 9)
        assert result(store.succeed("alice", following.sha256)).certificate == following
        self.may_not_follow(store, 3, 1)

    @pytest.mark.parametrize("first", [2, 3])
    def test_does_not_follow_another_one_that_the_same_key_asked_for(
        self, store: Store, first: int
    ):
        """Whoever had the old key as well, such as a thief, had it for the last time."""
        enrol(store, "alice")
        for key in (2, 3):
            result(store.issue(certificate("alice", key, key)))
        result(store.succeed("alice", certificate("alice", first, first).sha256))
        other = 5 - first
        self.may_not_follow(store, other, other)
        assert self.refused(store, 7, other) == "key-used"
        result(store.renew(certificate("alice", 8, first)))
        self.may_not_follow(store, other, other)
        result(store.succeed("alice", result(store.issue(certificate("alice", 9, 9))).sha256))

    def test_is_refused_to_nobody_and_to_whose_name_has_ended(self, store: Store):
        assert self.refused(store, 1, 2) == "unknown"
        enrol(store, "alice")
        result(store.issue(certificate("alice", 2, key=2)))
        result(store.revoke("alice", NOW))
        assert self.refused(store, 3, 3) == "revoked"
        self.may_not_follow(store, 2, 2)

    def test_of_one_peer_does_not_follow_anothers(self, store: Store):
        enrol(store, "alice")
        enrol(store, "bob")
        bobs = result(store.issue(certificate("bob", 2, key=2)))
        with pytest.raises(Refused, match=r"^revoked"):
            result(store.succeed("alice", bobs.sha256))

    def test_comes_four_times_in_a_day_at_most(self, store: Store):
        enrol(store, "alice")
        for key in range(2, 2 + successors.MOST):
            result(store.issue(certificate("alice", key, key)))
        assert self.refused(store, 10, 10) == "too-many"
        result(store.issue(certificate("alice", successors.DAY + 10, 10)))


def test_revocations_are_numbered_in_order_and_said_once(store: Store):
    for name in ("alice", "bob", "carol"):
        enrol(store, name)
    assert result(store.revoke("bob", NOW + 5)) == 1
    assert result(store.revoke("alice", NOW + 6, closed=True)) == 2
    assert result(store.revoke("bob", NOW + 7)) == 1
    both = [Revocation(1, "bob", NOW + 5), Revocation(2, "alice", NOW + 6)]
    assert result(store.revocations(0)) == both
    assert result(store.revocations(1)) == both[1:]
    assert result(store.revocations(2)) == []


def test_a_revoked_name_stays_known_and_says_how_it_ended(store: Store):
    for name in ("alice", "bob"):
        enrol(store, name)
    result(store.revoke("alice", NOW + 5))
    result(store.revoke("bob", NOW + 6, closed=True))
    alice, bob = result(store.peers())
    assert (alice.state, alice.ended, alice.revision) == ("revoked", NOW + 5, 1)
    assert (bob.state, bob.ended, bob.revision) == ("closed", NOW + 6, 2)


def test_an_unknown_name_is_not_revoked(store: Store):
    with pytest.raises(Refused) as error:
        result(store.revoke("alice", NOW))
    assert error.value.code == "unknown"
    assert result(store.key_log_size()) == 0


def test_revocation_takes_tickets_invitations_and_rooms_with_it(store: Store):
    result(store.invite(invitation("alice", b"second")))
    for name in ("alice", "bob"):
        enrol(store, name)
    result(store.ticket_put([ticket("alice", 1), ticket("bob", 2)]))
    result(store.room_create("@team", "bob", NOW))
    result(store.room_change("@team", add=["alice"]))
    result(store.revoke("alice", NOW))
    assert result(store.ticket_take(ticket("", 1).id_sha256, NOW, lambda _: None)) is None
    assert result(store.ticket_take(ticket("", 2).id_sha256, NOW, lambda _: None)) is not None
    assert result(store.invitation(b"second")).state == "withdrawn"
    room = result(store.room("@team"))
    assert (room.members, room.version) == (("bob",), 3)


def test_the_key_log_tells_everything_that_happened_to_keys(store: Store):
    enrol(store, "alice")
    enrol(store, "bob")
    result(store.renew(certificate("alice", 2)))
    result(store.revoke("alice", NOW + 9))
    result(store.revoke("bob", NOW + 10, closed=True))
    old, new, bob = certificate("alice"), certificate("alice", 2), certificate("bob")
    expected = [
        LogRow(0, "issued", NOW, "alice", sha256(old.spki), old.sha256),
        LogRow(1, "issued", NOW, "bob", sha256(bob.spki), bob.sha256),
        LogRow(2, "renewed", NOW + 2, "alice", sha256(new.spki), new.sha256),
        LogRow(3, "revoked", NOW + 9, "alice", sha256(new.spki), new.sha256),
        LogRow(4, "closed", NOW + 10, "bob", sha256(bob.spki), bob.sha256),
    ]
    assert result(store.key_log(0, 10)) == expected
    assert result(store.key_log(1, 2)) == expected[1:3]
    assert result(store.key_log_size()) == 5


def test_a_closed_store_answers_that_it_is_closed(store: Store):
    result(store.close())
    for ask in (lambda: store.lookup("alice"), lambda: store.revoke("alice", NOW)):
        with pytest.raises(StorageStopped, match="closed"):
            result(ask())
    with pytest.raises(StorageStopped, match="closed"):
        result(store.append([]))


def test_everything_is_there_after_the_store_was_opened_again(store: Store):
    enrol(store, "alice")
    result(store.revoke("alice", NOW))
    log = result(store.key_log(0, 10))
    result(store.close())
    opened = result(store.open())
    assert (opened.epoch, opened.created) == (2, False)
    assert result(store.lookup("alice")).state == "revoked"
    assert result(store.key_log(0, 10)) == log


def test_only_the_store_on_disk_says_that_it_is_durable(tmp_path):
    from securerelay.store.memory import MemoryStore

    assert result(MemoryStore().open()).durable is False
    disk = on_disk(tmp_path)
    opened = result(disk.open())
    assert (opened.durable, opened.created) == (True, True)
    assert opened.engine.startswith("sqlite ")
    result(disk.close())
