"""Rooms: who is in them, who may change them, and who hears of it."""

from __future__ import annotations

import json
import typing

import pytest
from twisted.internet.defer import Deferred

from securerelay.errors import Refused
from securerelay.relay.config import Config, PeerLimits, Policy, RoomRules
from tests.relay.world import Guest, World, done

ROOM = b"@team"


def made(world: World, *members: str, **rules: str) -> Guest:
    """Alice, connected, with a room of hers and a stream."""
    alice = world.join("alice")
    status, answer = alice.call("room.create", room="@team", **rules)
    assert status == "ok", answer
    for name in members:
        if done(world.store.lookup(name)) is None:
            world.enrol(name)
    if members:
        status, answer = alice.call("room.add", room="@team", peers=list(members))
        assert status == "ok", answer
    alice.open()
    alice.take()
    return alice


def here(world: World, name: str) -> Guest:
    guest = world.join(name)
    guest.attend()
    guest.take()
    return guest


def told(guest: Guest, kind: bytes = b"room") -> list[dict[str, typing.Any]]:
    return [json.loads(body) for got, body in guest.of("event") if got == kind]


@pytest.fixture
def world() -> World:
    return World()


# --- making and changing ---


def test_a_room_is_made_with_its_owner_in_it(world: World) -> None:
    alice = world.join("alice")
    assert alice.call("room.create", room="@team") == (
        "ok",
        {
            "room": "@team",
            "owner": "alice",
            "version": 1,
            "join": "invitation",
            "post": "members",
            "listed": 0,
            "count": 1,
        },
    )
    status, answer = alice.call("room.members", room="@team")
    assert (status, answer["members"], answer["more"]) == ("ok", ["alice"], False)


@pytest.mark.parametrize("name", ["@Team", "team", "@", "@all", "@everyone", "@relay"])
def test_no_room_gets_a_name_that_is_none_or_reserved(world: World, name: str) -> None:
    assert world.join("alice").call("room.create", room=name)[0] == "bad-request"


def test_a_name_that_looks_like_another_room_is_taken(world: World) -> None:
    made(world)
    bob = world.join("bob")
    assert bob.call("room.create", room="@team")[0] == "name-taken"
    assert bob.call("room.create", room="@tearn")[0] == "name-taken"


def test_a_room_that_was_deleted_is_gone_and_its_name_free(world: World) -> None:
    alice = made(world, "bob")
    bob = world.join("bob")
    assert bob.call("room.delete", room="@team")[0] == "not-permitted"
    assert alice.call("room.delete", room="@team") == ("ok", {})
    alice.send(1, ROOM)
    assert alice.of("no") == [(1, b"unknown")]
    (event,) = told(bob)
    assert (event["room"], event["left"]) == ("@team", ["alice", "bob"])
    assert bob.call("room.create", room="@team")[0] == "ok"


def test_only_the_owner_changes_a_room(world: World) -> None:
    made(world, "bob")
    bob = world.join("bob")
    for method, more in (
        ("room.add", {"peers": ["bob"]}),
        ("room.remove", {"peers": ["alice"]}),
        ("room.change", {"join": "open"}),
        ("room.change", {"owner": "bob"}),
    ):
        assert bob.call(method, room="@team", **more)[0] == "not-permitted", method


def test_who_is_no_member_does_not_learn_that_a_room_exists(world: World) -> None:
    made(world)
    carol = world.join("carol")
    carol.open()
    for method in ("room.members", "room.join", "room.leave", "room.delete"):
        there = carol.call(method, room="@team")
        nowhere = carol.call(method, room="@other")
        assert there[0] == nowhere[0] == "unknown", method
    carol.send(1, ROOM)
    assert carol.of("no") == [(1, b"unknown")]
    assert carol.call("room.list") == ("ok", {"rooms": [], "more": False})


def test_an_open_room_is_seen_and_joined_by_everybody(world: World) -> None:
    alice = made(world, join="open")
    bob = world.join("bob")
    (room,) = bob.call("room.list")[1]["rooms"]
    assert (room["room"], room["member"], room["count"]) == ("@team", False, 1)
    bob.open()
    bob.send(1, ROOM)
    assert bob.of("no") == [(1, b"not-permitted")]
    assert bob.call("room.join", room="@team")[1]["count"] == 2
    assert bob.call("room.join", room="@team")[1]["version"] == 2
    bob.send(2, ROOM)
    assert bob.of("ok") == [(2,)]
    assert told(alice)[0]["joined"] == ["bob"]


def test_a_change_for_another_version_changes_nothing(world: World) -> None:
    alice = made(world, "bob", "carol")
    for method, more in (
        ("room.remove", {"peers": ["bob"]}),
        ("room.change", {"post": "owner"}),
        ("room.delete", {}),
    ):
        assert alice.call(method, room="@team", version=1, **more)[0] == "room-changed", method
    assert alice.call("room.remove", room="@team", peers=["bob"], version=2)[0] == "ok"
    assert alice.call("room.members", room="@team")[1]["members"] == ["alice", "carol"]


def test_who_is_no_member_cannot_be_removed_and_nothing_changes(world: World) -> None:
    alice = made(world, "bob")
    assert alice.call("room.remove", room="@team", peers=["bob", "dora"]) == (
        "unknown",
        {"message": "dora is no member of @team"},
    )
    room = alice.call("room.members", room="@team")[1]
    assert (room["version"], room["members"]) == (2, ["alice", "bob"])


def test_the_owner_leaves_once_the_room_is_somebody_elses(world: World) -> None:
    alice = made(world, "bob")
    assert alice.call("room.leave", room="@team") == (
        "not-permitted",
        {"message": "delete the room, or hand it over if it is plain"},
    )
    assert alice.call("room.remove", room="@team", peers=["alice"])[0] == "not-permitted"
    assert alice.call("room.change", room="@team", owner="carol")[0] == "unknown"
    assert alice.call("room.change", room="@team", owner="bob")[1]["owner"] == "bob"
    assert alice.call("room.leave", room="@team")[1]["count"] == 1


def test_only_peers_that_exist_and_that_the_owner_may_reach_are_added() -> None:
    policy = Policy(
        see={"*": frozenset({"bob", "dave"})}, send={"*": frozenset({"bob", "carol", "@team"})}
    )
    world = World(Config(policy=policy))
    alice = made(world)
    for name in ("bob", "carol", "dave"):
        world.enrol(name)
    for name, code in (("erin", "unknown"), ("carol", "unknown"), ("dave", "not-permitted")):
        assert alice.call("room.add", room="@team", peers=["bob", name])[0] == code
    assert alice.call("room.members", room="@team")[1]["members"] == ["alice"]
    assert alice.call("room.add", room="@team", peers=["bob"])[0] == "ok"


def test_nobody_is_in_more_rooms_than_the_limit() -> None:
    world = World(Config(peer=PeerLimits(rooms=2)))
    alice, bob = world.join("alice"), world.join("bob")
    for name in ("@a", "@b"):
        assert alice.call("room.create", room=name, join="open")[0] == "ok"
        assert bob.call("room.join", room=name)[0] == "ok"
    assert alice.call("room.create", room="@c")[0] == "too-many"
    carol = world.join("carol")
    carol.call("room.create", room="@d", join="open")
    assert bob.call("room.join", room="@d")[0] == "too-many"
    assert carol.call("room.add", room="@d", peers=["bob"])[0] == "too-many"


def test_a_room_has_no_more_members_than_the_limit() -> None:
    world = World(Config(rooms=RoomRules(members=2)))
    alice = made(world, "bob", join="open")
    world.enrol("carol")
    assert alice.call("room.add", room="@team", peers=["carol"])[0] == "too-many"
    assert world.join("carol").call("room.join", room="@team")[0] == "too-many"


def test_members_who_are_here_are_told_of_changes_and_nobody_else(world: World) -> None:
    alice = made(world, "bob")
    bob, carol, dave = (world.join(name) for name in ("bob", "carol", "dave"))
    alice.call("room.add", room="@team", peers=["carol"])
    alice.call("room.remove", room="@team", peers=["bob"])
    alice.call("room.change", room="@team", post="owner")
    seen = [(event["version"], event["joined"], event["left"]) for event in told(carol)]
    assert seen == [(3, ["carol"], []), (4, [], ["bob"]), (5, [], [])]
    assert [event["version"] for event in told(bob)] == [3, 4]
    assert told(carol)[2]["post"] == "owner"
    assert told(dave) == []


def test_a_revoked_peer_is_in_no_room_and_its_members_hear_of_it(world: World) -> None:
    alice = made(world, "bob", "carol")
    carol = here(world, "carol")
    alice.send(1, ROOM, b"before")
    assert done(Deferred.fromCoroutine(world.router.revoke("bob"))) == 0
    alice.send(2, ROOM, b"after")
    assert carol.bodies() == [b"before", b"after"]
    assert told(carol)[0]["left"] == ["bob"]
    assert alice.call("room.members", room="@team")[1]["members"] == ["alice", "carol"]


def test_a_room_whose_owner_is_gone_is_given_to_a_member(world: World) -> None:
    made(world, "bob")
    bob = world.join("bob")
    done(Deferred.fromCoroutine(world.router.revoke("alice")))
    assert bob.call("room.change", room="@team", post="owner")[0] == "not-permitted"
    for room, name in (("@team", "carol"), ("@none", "bob")):
        with pytest.raises(Refused, match="unknown"):
            done(Deferred.fromCoroutine(world.router.rooms.give(room, name)))
    done(Deferred.fromCoroutine(world.router.rooms.give("@team", "bob")))
    world.run()
    assert told(bob)[-1]["owner"] == "bob"
    assert bob.call("room.change", room="@team", post="owner")[0] == "ok"


def test_what_the_parameters_may_not_be_is_refused(world: World) -> None:
    alice = made(world)
    for method, more in (
        ("room.create", {"room": "@x", "join": "everybody"}),
        ("room.create", {"room": "@x", "post": 1}),
        ("room.add", {"room": "@team"}),
        ("room.add", {"room": "@team", "peers": "bob"}),
        ("room.add", {"room": "@team", "peers": [1]}),
        ("room.add", {"room": "@team", "peers": ["Bob"]}),
        ("room.remove", {"room": "@team", "peers": [], "version": "2"}),
        ("room.leave", {"room": "@team", "now": True}),
        ("room.members", {}),
    ):
        assert alice.call(method, **more)[0] == "bad-request", (method, more)
