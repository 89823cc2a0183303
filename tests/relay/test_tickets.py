"""New tickets: good at once, on disk a moment later, and dead whenever those on disk would be."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from securerelay.errors import RemoteError
from securerelay.relay.tickets import MOST, WAIT, Tickets
from securerelay.store.interface import StorageFull
from securerelay.store.rows import Redeemed
from tests.relay.world import Slow
from tests.store.samples import LATER, NOW, certificate, enrol, result, ticket


class Fresh:
    """Tickets over a store that says what it was asked; alice is enrolled."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store: Any = Slow()
        result(self.store.open())
        enrol(self.store, "alice")
        self.tickets = Tickets(self.clock, self.store)

    def taking(self, number: int = 1, now: int = NOW, verify: Any = lambda _: None) -> Any:
        return Deferred.fromCoroutine(self.tickets.take(ticket("", number).id_sha256, now, verify))

    def take(self, number: int = 1, now: int = NOW) -> Redeemed | None:
        found: Redeemed | None = result(self.taking(number, now))
        return found


def test_a_fresh_ticket_is_used_once_and_the_disk_never_hears_of_it() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    redeemed = fresh.take()
    assert redeemed is not None
    assert (redeemed.ticket, redeemed.peer.name) == (ticket("alice"), "alice")
    assert fresh.take() is None
    fresh.clock.advance(WAIT)
    assert fresh.store.count("ticket_put") == 0


def test_tickets_of_many_sessions_reach_the_disk_together() -> None:
    fresh = Fresh()
    for number in (1, 2, 3):
        fresh.tickets.put([ticket("alice", number)])
    assert fresh.store.count("ticket_put") == 0
    fresh.clock.advance(WAIT)
    assert fresh.store.count("ticket_put") == 1
    assert [fresh.take(number) is not None for number in (1, 2, 3, 3)] == [True, True, True, False]


def test_each_moment_begins_with_its_first_ticket() -> None:
    fresh = Fresh()
    for number in (1, 2):
        fresh.tickets.put([ticket("alice", number)])
        fresh.clock.advance(WAIT)
    assert fresh.store.count("ticket_put") == 2
    assert not fresh.clock.getDelayedCalls()


def test_a_great_many_do_not_wait() -> None:
    fresh = Fresh()
    fresh.tickets.put(
        [ticket("alice", 1, id_sha256=bytes([i % 256, i // 256])) for i in range(MOST)]
    )
    assert fresh.store.count("ticket_put") == 1


def test_a_wrong_binder_does_not_burn_a_fresh_ticket() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    seen: list[bytes] = []

    def wrong(psk: bytes) -> None:
        seen.append(psk)
        raise RemoteError("auth-failed", "binder")

    with pytest.raises(RemoteError, match="auth-failed"):
        result(fresh.taking(verify=wrong))
    assert seen == [ticket("alice").psk]
    assert fresh.take() is not None


def test_a_fresh_ticket_works_until_just_before_it_expires() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice", 1), ticket("alice", 2)])
    assert fresh.take(1, LATER) is None
    assert fresh.take(2, LATER - 1) is not None


def test_a_fresh_ticket_of_a_replaced_certificate_is_not_taken() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    result(fresh.store.renew(certificate("alice", 2)))
    assert fresh.take() is None


def test_a_fresh_ticket_of_a_revoked_peer_is_not_taken() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    result(fresh.store.revoke("alice", NOW))
    assert fresh.take() is None


def test_a_fresh_ticket_of_somebody_nobody_knows_is_not_taken() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("ghost")])
    assert fresh.take() is None


def test_two_who_come_at_once_with_a_fresh_ticket_are_not_both_let_in() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    fresh.store.slow = {"lookup"}
    both = [fresh.taking(), fresh.taking()]
    fresh.store.answer()
    fresh.store.answer()
    assert [result(one) is not None for one in both] == [True, False]


def test_a_ticket_that_goes_to_disk_while_it_is_asked_for_is_taken_from_there() -> None:
    fresh = Fresh()
    fresh.tickets.put([ticket("alice")])
    fresh.store.slow = {"lookup"}
    taking = fresh.taking()
    fresh.clock.advance(WAIT)
    fresh.store.answer()
    assert result(taking) is not None
    fresh.store.slow = set()
    assert fresh.take() is None


def test_the_tickets_of_a_session_die_together_wherever_they_are() -> None:
    fresh = Fresh()
    other = ticket("alice", 3, session_id=b"another session.")
    fresh.tickets.put([ticket("alice", 1)])
    fresh.clock.advance(WAIT)
    fresh.tickets.put([ticket("alice", 2), other])
    result(Deferred.fromCoroutine(fresh.tickets.kill(ticket("alice").session_id)))
    assert [fresh.take(number) is not None for number in (1, 2, 3)] == [False, False, True]


def test_tickets_that_find_no_room_are_lost_and_nothing_else_is() -> None:
    fresh = Fresh()
    fresh.store.slow = {"ticket_put"}
    fresh.tickets.put([ticket("alice")])
    fresh.clock.advance(WAIT)
    fresh.store.answer(StorageFull("no room"))
    assert fresh.take() is None
