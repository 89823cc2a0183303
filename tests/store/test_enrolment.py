"""Invitations and what comes of them: the same in every store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securerelay.errors import Refused
from securerelay.store.interface import KEPT, Store
from tests.store.samples import LATER, NOW, certificate, enrol, invitation, result


def refusal(answer) -> str:
    with pytest.raises(Refused) as error:
        result(answer)
    return error.value.code


def test_an_invitation_is_kept_as_it_was_made(store: Store):
    result(store.invite(invitation("alice")))
    assert result(store.invitation(b"tokens")) == invitation("alice")
    assert result(store.invitation(b"others")) is None


def test_invitations_are_listed_oldest_first(store: Store):
    rows = [
        replace(invitation("alice", b"bbbbbb"), created=NOW),
        replace(invitation("bob", b"cccccc"), created=NOW),
        replace(invitation("carol", b"aaaaaa"), created=NOW + 1),
    ]
    for row in reversed(rows):
        result(store.invite(row))
    assert result(store.invitations()) == rows


def test_the_newcomer_gets_name_roles_and_certificate(store: Store):
    result(store.invite(invitation("alice")))
    consumed = result(store.consume(b"tokens", certificate("alice"), NOW + 7))
    assert consumed.peer.roles == ("admin", "inviter")
    assert consumed.certificate == certificate("alice")
    assert consumed.repeated is False
    assert result(store.lookup("alice")) == consumed.peer
    used = result(store.invitation(b"tokens"))
    assert (used.state, used.used) == ("used", NOW + 7)
    assert used.certificate_sha256 == certificate("alice").sha256


def test_a_dispute_over_an_invitation_stays_until_it_is_acknowledged(store: Store):
    result(store.invite(invitation("alice")))
    assert result(store.dispute(b"others", NOW)) is False
    assert result(store.dispute(b"tokens", NOW)) is True
    assert result(store.dispute(b"tokens", LATER)) is False
    assert result(store.invitation(b"tokens")).disputed == NOW
    assert result(store.dispute(b"tokens", None)) is True
    assert result(store.dispute(b"tokens", None)) is False
    assert result(store.invitation(b"tokens")) == invitation("alice")


def test_who_lost_the_answer_gets_the_first_certificate_again(store: Store):
    result(store.invite(invitation("alice")))
    first = result(store.consume(b"tokens", certificate("alice"), NOW))
    again = result(store.consume(b"tokens", certificate("alice", 2), LATER + 1))
    assert again.repeated is True
    assert (again.certificate, again.peer) == (first.certificate, first.peer)
    assert result(store.issued()) == [certificate("alice")]
    assert result(store.key_log_size()) == 1


def test_the_first_certificate_is_given_again_even_after_a_renewal(store: Store):
    enrol(store, "alice", b"tokens")
    result(store.renew(certificate("alice", 2)))
    again = result(store.consume(b"tokens", certificate("alice", 3), NOW))
    assert again.certificate == certificate("alice")


def test_another_key_cannot_use_the_same_token(store: Store):
    enrol(store, "alice", b"tokens")
    assert refusal(store.consume(b"tokens", certificate("alice", 2, key=2), NOW)) == "token-used"
    assert result(store.issued()) == [certificate("alice")]


def test_who_was_revoked_is_told_so_by_its_old_token(store: Store):
    enrol(store, "alice", b"tokens")
    result(store.revoke("alice", NOW))
    assert refusal(store.consume(b"tokens", certificate("alice"), NOW)) == "revoked"


def test_an_unknown_token_enrols_nobody(store: Store):
    assert refusal(store.consume(b"tokens", certificate("alice"), NOW)) == "unknown"
    assert result(store.peers()) == []


def test_a_token_works_until_just_before_it_expires(store: Store):
    result(store.invite(invitation("alice")))
    result(store.invite(invitation("bob", b"second")))
    assert refusal(store.consume(b"tokens", certificate("alice"), LATER)) == "expired"
    assert result(store.consume(b"second", certificate("bob"), LATER - 1)).peer.name == "bob"


def test_a_withdrawn_token_enrols_nobody(store: Store):
    result(store.invite(invitation("alice")))
    assert result(store.withdraw(b"tokens")) is True
    assert result(store.withdraw(b"tokens")) is False
    assert result(store.withdraw(b"others")) is False
    assert refusal(store.consume(b"tokens", certificate("alice"), NOW)) == "expired"


def test_a_used_token_cannot_be_withdrawn(store: Store):
    enrol(store, "alice", b"tokens")
    assert result(store.withdraw(b"tokens")) is False
    assert result(store.invitation(b"tokens")).state == "used"


def test_two_invitations_for_one_name_enrol_one_peer(store: Store):
    result(store.invite(invitation("alice")))
    result(store.invite(invitation("alice", b"second")))
    result(store.consume(b"tokens", certificate("alice"), NOW))
    assert refusal(store.consume(b"second", certificate("alice", 2, key=2), NOW)) == "name-taken"


def test_a_name_that_looks_like_another_is_taken(store: Store):
    enrol(store, "bill")
    with pytest.raises(Refused) as error:
        result(store.invite(invitation("bi11")))
    assert (error.value.code, error.value.detail) == ("name-taken", "bill")


def test_two_invitations_for_names_that_look_alike_enrol_one_peer(store: Store):
    result(store.invite(invitation("bill")))
    result(store.invite(invitation("bi11", b"second")))
    result(store.consume(b"tokens", certificate("bill"), NOW))
    assert refusal(store.consume(b"second", certificate("bi11"), NOW)) == "name-taken"
    assert result(store.lookup("bi11")) is None


def test_a_revoked_name_is_never_given_again(store: Store):
    enrol(store, "alice")
    result(store.revoke("alice", NOW))
    assert refusal(store.invite(invitation("alice", b"second"))) == "name-taken"


def test_a_token_is_never_made_twice(store: Store):
    result(store.invite(invitation("alice")))
    assert refusal(store.invite(invitation("bob"))) == "token-used"
    assert result(store.invitation(b"tokens")).name == "alice"


def test_a_certificate_for_another_name_is_not_entered(store: Store):
    result(store.invite(invitation("alice")))
    with pytest.raises(ValueError, match="names another peer"):
        result(store.consume(b"tokens", certificate("bob"), NOW))
    assert result(store.peers()) == []


def test_used_and_expired_invitations_are_remembered_for_thirty_days(store: Store):
    result(store.invite(invitation("alice")))
    result(store.consume(b"tokens", certificate("alice"), NOW + 3))
    result(store.invite(invitation("bob", b"second")))
    result(store.tidy(NOW + 2 + KEPT))
    assert len(result(store.invitations())) == 2
    result(store.tidy(NOW + 3 + KEPT))
    assert [row.name for row in result(store.invitations())] == ["bob"]
    assert refusal(store.consume(b"second", certificate("bob"), LATER + 1)) == "expired"
    result(store.tidy(LATER + KEPT))
    assert result(store.invitations()) == []
