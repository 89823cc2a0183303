"""Resumption tickets: single use, the same in every store."""

from __future__ import annotations

import pytest

from securerelay.errors import RemoteError
from securerelay.store.interface import Store
from tests.store.samples import LATER, NOW, certificate, enrol, result, ticket


def take(store: Store, number: int = 1, now: int = NOW):
    return result(store.ticket_take(ticket("", number).id_sha256, now, lambda _: None))


def test_a_ticket_can_be_used_once(store: Store):
    alice = enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))
    redeemed = take(store)
    assert (redeemed.ticket, redeemed.peer) == (ticket("alice"), alice)
    assert take(store) is None


def test_a_ticket_nobody_made_is_not_found(store: Store):
    assert take(store) is None


def test_the_client_is_checked_with_the_psk_before_the_ticket_goes(store: Store):
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))
    seen = []
    result(store.ticket_take(ticket("").id_sha256, NOW, seen.append))
    assert seen == [ticket("alice").psk]


def test_a_wrong_binder_does_not_burn_the_ticket(store: Store):
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))

    def wrong(_: bytes) -> None:
        raise RemoteError("auth-failed", "binder")

    with pytest.raises(RemoteError, match="auth-failed"):
        result(store.ticket_take(ticket("").id_sha256, NOW, wrong))
    assert take(store) is not None


def test_a_ticket_works_until_just_before_it_expires(store: Store):
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice", 1), ticket("alice", 2)]))
    assert take(store, 1, LATER) is None
    assert take(store, 2, LATER - 1) is not None


def test_a_ticket_of_a_replaced_certificate_is_not_taken(store: Store):
    enrol(store, "alice")
    result(store.renew(certificate("alice", 2)))
    result(store.ticket_put([ticket("alice")]))
    assert take(store) is None


def test_a_ticket_that_came_after_the_revocation_is_not_taken(store: Store):
    enrol(store, "alice")
    result(store.revoke("alice", NOW))
    result(store.ticket_put([ticket("alice")]))
    assert take(store) is None


def test_the_tickets_of_a_session_die_together(store: Store):
    enrol(store, "alice")
    other = b"another session."
    rows = [ticket("alice", 1), ticket("alice", 2), ticket("alice", 3, session_id=other)]
    result(store.ticket_put(rows))
    assert result(store.tickets_kill(session_id=rows[0].session_id)) == 2
    assert [take(store, number) is not None for number in (1, 2, 3)] == [False, False, True]


def test_the_tickets_of_a_peer_die_together(store: Store):
    enrol(store, "alice")
    enrol(store, "bob")
    result(store.ticket_put([ticket("alice", 1), ticket("alice", 2), ticket("bob", 3)]))
    assert result(store.tickets_kill(name="alice")) == 2
    assert [take(store, number) is not None for number in (1, 2, 3)] == [False, False, True]


def test_expired_tickets_are_tidied_away(store: Store):
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice", 1), ticket("alice", 2, expiry=LATER + 1)]))
    result(store.tidy(LATER))
    assert result(store.tickets_kill(name="alice")) == 1


def test_a_psk_is_not_shown_where_rows_are_printed():
    assert "psk" not in repr(ticket("alice"))
    assert repr(ticket("alice").psk) not in repr(ticket("alice"))
