"""Who is shown to be here: whoever is, and nobody who left."""

from __future__ import annotations

import json
import typing

from securerelay.protocol import messages
from securerelay.relay.config import Config, Policy
from tests.relay.world import Guest, World


def seen(guest: Guest) -> list[dict[str, typing.Any]]:
    return [json.loads(body) for kind, body in guest.of("event") if kind == b"presence"]


def watcher(world: World, name: str = "alice") -> Guest:
    guest = world.join(name)
    assert guest.call("peer.watch") == ("ok", {})
    return guest


def test_a_watcher_is_told_who_comes_listens_and_goes() -> None:
    world = World()
    alice = watcher(world)
    bob = world.join("bob")
    bob.attend()
    bob.drop()
    world.run()
    told = [(event["peer"], event["online"], event["listening"]) for event in seen(alice)]
    assert told == [("bob", True, False), ("bob", True, True), ("bob", False, False)]


def test_a_second_session_of_a_peer_is_no_news() -> None:
    world = World()
    alice = watcher(world)
    world.join("bob")
    second = world.join("bob")
    second.drop()
    world.run()
    assert len(seen(alice)) == 1


def test_who_does_not_watch_is_not_told() -> None:
    world = World()
    alice = world.join("alice")
    world.join("bob")
    assert seen(alice) == []


def test_nobody_is_shown_to_those_who_may_not_see_him() -> None:
    world = World(Config(policy=Policy(see={"alice": frozenset({"bob"})})))
    alice = watcher(world)
    world.join("bob")
    world.join("carol")
    assert [event["peer"] for event in seen(alice)] == ["bob"]


def test_a_peer_that_fell_silent_is_not_shown_for_longer_than_half_a_minute() -> None:
    world = World()
    alice = watcher(world)
    bob = world.join("bob")
    bob.gone = True
    world.run(30)
    assert [event["online"] for event in seen(alice)] == [True, False]
    assert world.router.find("bob") is None


def test_a_peer_that_answers_stays() -> None:
    world = World()
    alice = world.join("alice")
    world.run(300)
    assert alice.end == ""
    assert alice.of("ping")


def test_a_peer_that_speaks_is_not_asked() -> None:
    world = World()
    alice = world.join("alice")
    for _ in range(30):
        world.run(5)
        alice.say(messages.ping(b"1"))
    assert alice.of("ping") == []
