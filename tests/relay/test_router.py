"""Who is here and who gets what, as the administrator sees it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.errors import Refused
from tests.relay.world import Slow, World, done

SOON = 0.01


def test_a_message_reaches_the_one_it_is_for_and_nobody_else() -> None:
    world = World()
    alice, bob, carol = (world.join(name) for name in ("alice", "bob", "carol"))
    for guest in (alice, bob, carol):
        guest.attend()
    alice.open()
    alice.send(1, b"bob")
    assert [guest.bodies() for guest in (alice, bob, carol)] == [[], [b"hello"], []]


def test_somebody_who_enrols_later_can_be_reached_at_once() -> None:
    world = World()
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    assert alice.of("no") == [(1, b"unknown")]
    world.enrol("bob")
    alice.send(2, b"bob")
    assert alice.of("ok") == [(2,)]


def test_revoking_a_name_that_nobody_has_is_refused() -> None:
    world = World()
    with pytest.raises(Refused, match="unknown"):
        done(Deferred.fromCoroutine(world.router.revoke("nobody-there")))


def test_revoking_a_peer_that_is_not_here_cuts_nothing() -> None:
    world = World()
    world.enrol("bob")
    assert done(Deferred.fromCoroutine(world.router.revoke("bob"))) == 0
    assert done(world.store.lookup("bob")).state == "revoked"


@pytest.mark.parametrize("here", [True, False])
def test_somebody_revoked_while_he_is_looked_up_gets_nothing_more(here: bool) -> None:
    store = Slow()
    world = World(store=store)
    if here:
        world.join("bob")
    else:
        world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    store.slow = {"mailbox_state"}
    alice.send(1, b"bob")
    revoking = Deferred.fromCoroutine(world.router.revoke("bob"))
    store.answer()
    world.run(SOON)
    assert done(revoking) == here
    assert alice.of("no") == [(1, b"unknown")]


def test_an_answer_from_before_a_revocation_is_not_believed_after_it() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    alice, carol = world.join("alice"), world.join("carol")
    for guest in (alice, carol):
        guest.open()
    store.slow = {"append"}
    carol.send(1, b"bob")
    store.slow = store.stale = {"lookup"}
    alice.send(1, b"bob")
    done(Deferred.fromCoroutine(world.router.revoke("bob")))
    store.answer()
    store.answer()
    world.run(SOON)
    store.answer()
    world.run(SOON)
    assert alice.of("no") == [(1, b"unknown")]


def test_status_counts_who_is_here() -> None:
    world = World()
    world.join("alice")
    world.join("alice")
    world.join("bob").attend()
    status = world.router.status()
    assert (status["peers"], status["sessions"], status["listening"]) == (2, 3, 1)
    assert status["storage"] == "ok"


def test_peers_that_are_not_used_any_more_are_forgotten() -> None:
    world = World()
    alice = world.join("alice")
    alice.open()
    for number in range(20):
        name = f"peer-{number}"
        world.enrol(name)
        alice.send(number + 1, name.encode())
    assert len(world.router._peers) == 21
    world.run(120)
    assert set(world.router._peers) == {b"alice"}
    alice.send(21, b"peer-3")
    world.run(SOON)
    assert alice.of("ok")[-1] == (21,)
    assert world.router.find("peer-3").mailbox.count == 2


def test_the_relay_that_ends_stops_its_timers() -> None:
    world = World()
    world.join("alice")
    draining = Deferred.fromCoroutine(world.router.drain())
    world.run()
    done(draining)
    world.factory.doStop()
    world.context.tickets.flush()
    assert world.clock.calls == []
