"""Rooms whose members are those of a signed list: who may sign it, and what follows from it."""

# More than 400 lines: one room, and whatever anybody may try with its list.

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.crypto.primitives import ed25519_public
from securerelay.protocol import messages
from securerelay.protocol.lines import decode, encode
from securerelay.relay.config import Config, PeerLimits, Policy, RoomRules
from securerelay.relay.methods import rooms
from securerelay.sealing import roomlist
from securerelay.sealing.fingerprint import Author
from securerelay.store.interface import LISTS_KEPT
from tests.relay.citizens import citizen, publish
from tests.relay.test_rooms import ROOM, told
from tests.relay.world import Guest, Slow, World, done
from tests.sealing.world import MS, Person, raw_list

KEYS = {"alice": 1, "bob": 2, "carol": 3, "dave": 4}


class Team:
    """A room of alice's, in a relay where everybody has published a bundle."""

    def __init__(self, config: Config | None = None, store: Any = None, **rules: str) -> None:
        self.world = World(config, store)
        self.people: dict[str, Person] = {}
        self.guests: dict[str, Guest] = {}
        for name, key in KEYS.items():
            self.people[name] = citizen(self.world, name, key)
            self.guests[name] = self.world.join(name, key)
            assert publish(self.guests[name], self.people[name]) == "ok"
        status, answer = self.guests["alice"].call("room.create", room="@team", **rules)
        assert status == "ok", answer

    def raw(self, *members: str, version: int = 1, **changes: Any) -> bytes:
        """The list of so many members; owner, signer and admins are named."""
        for key in ("owner", "signer"):
            if key in changes:
                changes[key] = self.people[changes[key]]
        if "admins" in changes:
            changes["admins"] = tuple(self.people[name] for name in changes["admins"])
        changes.setdefault("owner", self.people["alice"])
        return raw_list(*(self.people[name] for name in members), version=version, **changes)

    def bring(self, caller: str, raw: bytes) -> str:
        return self.guests[caller].call("room.publish", room="@team", list=encode(raw))[0]

    def go_on(self, *members: str, version: int = 1, caller: str = "alice", **changes: Any) -> str:
        return self.bring(caller, self.raw(*members, version=version, **changes))

    def here(self, name: str) -> Guest:
        """Somebody who listens."""
        guest = self.guests[name]
        guest.attend()
        return guest

    @property
    def members(self) -> list[str]:
        return list(done(self.world.store.room("@team")).members)

    def call(self, caller: str, method: str, **parameters: Any) -> str:
        return self.guests[caller].call(method, room="@team", **parameters)[0]


@pytest.fixture
def team() -> Team:
    return Team()


def test_the_members_are_those_of_the_list_and_they_are_told(team: Team) -> None:
    status, answer = team.guests["alice"].call(
        "room.publish", room="@team", list=encode(team.raw("alice", "bob"))
    )
    assert (status, answer["listed"], answer["version"], answer["count"]) == ("ok", 1, 2, 2)
    team.guests["bob"].take()
    assert team.go_on("alice", "carol", version=2) == "ok"
    assert team.members == ["alice", "carol"]
    (bob,), (carol,) = (told(team.guests[name]) for name in ("bob", "carol"))
    assert bob == carol
    assert (bob["listed"], bob["joined"], bob["left"]) == (2, ["carol"], ["bob"])
    assert told(team.guests["dave"]) == []


@pytest.mark.parametrize("version", [1, 3, 0])
def test_only_the_next_version_is_taken(team: Team, version: int) -> None:
    assert team.go_on("alice", "bob") == "ok"
    assert team.go_on("alice", "carol", version=version) == "room-changed"
    assert team.members == ["alice", "bob"]


def test_of_two_who_change_a_list_at_once_one_is_told_to_try_again(team: Team) -> None:
    assert team.go_on("alice", "bob", admins=("bob",)) == "ok"
    for name in ("alice", "bob"):
        raw = team.raw("alice", "bob", "carol", version=2, signer=name, admins=("bob",))
        call = {"room": "@team", "list": encode(raw)}
        team.guests[name].mumble(messages.call(b"9", b"room.publish", json.dumps(call).encode()))
    team.world.run()
    statuses = [
        status
        for name in ("alice", "bob")
        for tag, status, _ in team.guests[name].of("reply")
        if tag == b"9"
    ]
    assert sorted(statuses) == [b"ok", b"room-changed"]


# --- who signs ---


def test_an_admin_whom_the_owner_named_signs_and_nobody_else(team: Team) -> None:
    assert team.go_on("alice", "bob", "carol", admins=("bob",)) == "ok"
    more = {"version": 2, "admins": ("bob",)}
    everybody = ("alice", "bob", "carol", "dave")
    assert team.go_on(*everybody, caller="carol", signer="carol", **more) == "list-bad"
    # Nor does a member bring what somebody else signed.
    assert team.go_on(*everybody, caller="carol", signer="bob", **more) == "unchecked"
    assert team.go_on(*everybody, caller="bob", signer="alice", **more) == "list-bad"
    assert team.go_on(*everybody, caller="bob", signer="bob", **more) == "ok"
    assert team.members == list(everybody)


def test_no_member_makes_itself_owner_or_admin(team: Team) -> None:
    assert team.go_on("alice", "bob") == "ok"
    # A grant that bob signed as if he owned the room:
    assert team.go_on("alice", "bob", version=2, caller="bob", owner="bob") == "list-bad"
    # ... or signed by himself, with alice's fingerprint in it.
    grant = roomlist.build_grant(team.people["bob"].author, b"r" * 16, 2, [team.people["bob"].fp])
    forged = {"version": 2, "caller": "bob", "signer": "bob", "grant": grant}
    assert team.go_on("alice", "bob", **forged) == "list-bad"
    # Or alice's name beside his own fingerprint, and his beside hers.
    people = {name: team.people[name].fp for name in ("alice", "bob")}
    swapped = {"alice": people["bob"], "bob": people["alice"]}
    raw = team.raw("alice", "bob", version=2, owner="bob", members=swapped)
    assert team.bring("bob", raw) == "list-bad"
    # Not even if she helps him.
    both = {"owner": "bob", "signer": "alice", "admins": ("alice",), "members": swapped}
    assert team.bring("bob", team.raw("alice", "bob", version=2, **both)) == "list-bad"
    assert team.members == ["alice", "bob"]


def test_a_list_with_an_altered_member_is_refused(team: Team) -> None:
    raw = team.raw("alice", "bob")
    assert team.bring("alice", raw.replace(team.people["bob"].fp, bytes(32))) == "list-bad"
    assert team.bring("alice", raw[:-1] + bytes((raw[-1] ^ 1,))) == "list-bad"
    assert team.bring("alice", raw) == "ok"


def test_owner_and_signer_are_members_by_the_keys_they_published(team: Team) -> None:
    assert team.go_on("bob") == "list-bad"
    # Who signs with other keys than the bundle has is not known.
    stranger = replace(team.people["alice"], author=team.people["dave"].author)
    raw = raw_list(stranger, team.people["bob"], owner=stranger)
    assert team.bring("alice", raw) == "unchecked"


def test_who_has_published_no_bundle_signs_no_list() -> None:
    world = World()
    alice = citizen(world, "alice", 1)
    guest = world.join("alice", 1)
    guest.call("room.create", room="@team")
    raw = encode(raw_list(alice, owner=alice))
    assert guest.call("room.publish", room="@team", list=raw)[0] == "unchecked"
    assert publish(guest, alice) == "ok"
    assert guest.call("room.publish", room="@team", list=raw)[0] == "ok"


def test_a_grant_that_was_replaced_is_good_no_more(team: Team) -> None:
    assert team.go_on("alice", "bob", admins=("bob",)) == "ok"
    assert team.go_on("alice", "bob", version=2, grant_number=2) == "ok"
    dismissed = {"version": 3, "caller": "bob", "signer": "bob", "admins": ("bob",)}
    assert team.go_on("alice", "bob", "carol", **dismissed) == "list-rollback"
    # Nor can the grant of before come back under the number of the new one.
    assert team.go_on("alice", "bob", version=3, grant_number=2, admins=("bob",)) == "room-conflict"
    assert team.go_on("alice", "bob", version=3, grant_number=2) == "ok"


def test_an_admin_who_left_does_not_put_itself_back_on_the_list() -> None:
    team = Team(join="open")  # the room is to be seen, also by who is not in it
    assert team.go_on("alice", "bob", "carol", admins=("bob",)) == "ok"
    bob = {"caller": "bob", "signer": "bob", "admins": ("bob",), "version": 2}
    assert team.call("bob", "room.leave") == "ok"
    assert team.go_on("alice", "bob", **bob) == "not-permitted"
    assert team.members == ["alice", "carol"]
    assert team.call("bob", "room.join") == "ok"
    assert team.go_on("alice", "bob", **bob) == "ok"


def test_a_room_keeps_its_id(team: Team) -> None:
    assert team.go_on("alice", "bob") == "ok"
    grant = roomlist.build_grant(team.people["alice"].author, b"x" * 16, 1, [])
    raw = team.raw("alice", "bob", version=2, room_id=b"x" * 16, grant=grant)
    assert team.bring("alice", raw) == "room-changed-hands"


def test_the_list_of_another_room_is_not_taken(team: Team) -> None:
    assert team.go_on("alice", name="@other") == "list-bad"
    raw = encode(team.raw("alice"))
    assert team.guests["bob"].call("room.publish", room="@team", list=raw)[0] == "unknown"
    for room in ("@nowhere", "@everyone"):
        raw = encode(team.raw("alice", name=room))
        assert team.guests["alice"].call("room.publish", room=room, list=raw)[0] == "unknown"


def test_the_room_of_everyone_has_no_list() -> None:
    team = Team(Config(rooms=RoomRules(everyone=frozenset({"alice"}))))
    raw = encode(team.raw("alice", name="@everyone"))
    answer = team.guests["alice"].call("room.publish", room="@everyone", list=raw)
    assert answer[0] == "not-permitted"


def test_an_owner_with_new_keys_goes_on_with_the_list(team: Team) -> None:
    assert team.go_on("alice", "bob") == "ok"
    old = team.people["alice"]
    fresh = replace(old, author=with_another_message_key(old))
    team.people["alice"] = fresh
    assert publish(team.guests["alice"], fresh, number=MS + 1) == "ok"
    assert team.go_on("alice", "bob", "carol", version=2, grant_number=2) == "ok"


def with_another_message_key(person: Person) -> Author:
    seed = b"another".ljust(32)
    identity = replace(person.identity, message_key=ed25519_public(seed))
    return Author(identity, seed)


# --- who can be on it ---


def test_only_peers_that_exist_are_listed(team: Team) -> None:
    raw = team.raw("alice", members={"alice": team.people["alice"].fp, "erin": bytes(32)})
    assert team.bring("alice", raw) == "unknown"
    done(Deferred.fromCoroutine(team.world.router.revoke("dave")))
    assert team.go_on("alice", "dave") == "unknown"
    assert team.go_on("alice") == "ok"


def test_only_peers_whom_the_signer_may_see_and_send_to_are_listed() -> None:
    see = {"*": frozenset({"*"}), "alice": frozenset({"bob", "dave"})}
    send = {"*": frozenset({"*"}), "alice": frozenset({"bob", "carol"})}
    team = Team(Config(policy=Policy(see=see, send=send)))
    assert team.go_on("alice", "carol") == "unknown"
    assert team.go_on("alice", "dave") == "not-permitted"
    assert team.go_on("alice", "bob", admins=("bob",)) == "ok"
    # Whom another admin brought in may stay when alice goes on.
    everybody = ("alice", "bob", "carol", "dave")
    more = {"caller": "bob", "signer": "bob", "admins": ("bob",), "version": 2}
    assert team.go_on(*everybody, **more) == "ok"
    assert team.go_on(*everybody, version=3, admins=("bob",)) == "ok"


def test_the_limits_of_rooms_hold_for_lists() -> None:
    team = Team(Config(rooms=RoomRules(members=2, lists=3), peer=PeerLimits(rooms=1)))
    assert team.go_on("alice", "bob", "carol") == "too-many"
    assert team.guests["carol"].call("room.create", room="@other")[0] == "ok"
    assert team.go_on("alice", "carol") == "too-many"
    for version in (1, 2, 3):
        assert team.go_on("alice", "bob", version=version) == "ok"
    assert team.go_on("alice", version=4) == "too-many"
    assert team.members == ["alice", "bob"]
    team.world.clock.advance(LISTS_KEPT / 1000)
    for name, key in KEYS.items():
        row = team.world.issue(name, team.people[name].identity.spki)
        done(team.world.store.renew(row))
        team.guests[name] = team.world.join(name, key)
    assert team.go_on("alice", version=4) == "ok"


def test_a_list_of_300_members_and_24_of_them_in_one_answer_are_not_too_large() -> None:
    names = [f"{number:032}" for number in range(roomlist.MAX_MEMBERS)]
    raw = raw_list(members={name: name.encode() for name in names})
    assert len(raw) + roomlist.MAX_ADMINS * 32 <= rooms.MAX_LIST
    entry = len(encode(bytes(rooms.MAX_LIST))) + 150
    assert rooms.MOST_LISTS * entry < Config().limits.message_bytes


def test_a_larger_list_is_not_looked_at(team: Team) -> None:
    assert team.bring("alice", bytes(rooms.MAX_LIST)) == "list-bad"
    assert team.bring("alice", bytes(rooms.MAX_LIST + 1)) == "too-large"


@pytest.mark.parametrize("raw", [{}, {"list": 1}, {"list": "AA=="}, {"list": "AAAA", "version": 1}])
def test_parameters_of_another_form_are_refused(team: Team, raw: dict[str, Any]) -> None:
    assert team.call("alice", "room.publish", **raw) == "bad-request"


# --- what follows from it ---


def test_a_room_with_a_list_changes_by_its_list_alone(team: Team) -> None:
    assert team.call("alice", "room.add", peers=["bob"]) == "ok"
    assert team.go_on("alice", "bob") == "ok"
    assert team.call("alice", "room.add", peers=["carol"]) == "signed"
    assert team.call("alice", "room.remove", peers=["bob"]) == "signed"
    assert team.call("alice", "room.change", owner="bob") == "signed"
    assert team.members == ["alice", "bob"]
    # The rules stay the owner's to set.
    assert team.call("alice", "room.change", post="owner") == "ok"


def test_who_leaves_gets_nothing_more_at_once_and_may_come_back(team: Team) -> None:
    assert team.go_on("alice", "bob", "carol") == "ok"
    alice, bob = team.guests["alice"], team.here("bob")
    alice.take()
    assert bob.call("room.leave", room="@team")[0] == "ok"
    assert told(alice)[0]["left"] == ["bob"]
    alice.open()
    alice.send(1, ROOM, b"without bob")
    assert bob.bodies() == []
    assert team.members == ["alice", "carol"]
    # The list still has him, so nobody needs to be asked.
    assert bob.call("room.join", room="@team")[0] == "ok"
    assert team.members == ["alice", "bob", "carol"]
    assert team.call("dave", "room.join") == "unknown"


def test_who_is_not_on_the_list_of_an_open_room_does_not_join_by_itself() -> None:
    team = Team(join="open")
    assert team.call("bob", "room.join") == "ok"
    assert team.go_on("alice", "bob", version=1) == "ok"
    assert team.call("carol", "room.join") == "signed"
    assert team.members == ["alice", "bob"]
    # A member is one already.
    assert team.call("bob", "room.join") == "ok"
    # Whom to ask is told to everybody who finds the room.
    (found,) = team.guests["carol"].call("room.list")[1]["rooms"]
    assert (found["owner"], found["listed"], found["member"]) == ("alice", 1, False)


def test_a_member_that_ended_is_in_no_room_whatever_the_list_says(team: Team) -> None:
    assert team.go_on("alice", "bob") == "ok"
    done(Deferred.fromCoroutine(team.world.router.revoke("bob")))
    assert team.members == ["alice"]
    assert team.go_on("alice", "bob", version=2) == "unknown"
    assert team.go_on("alice", version=2) == "ok"


def test_a_message_goes_to_the_members_of_the_list_that_was_newest_when_it_came(
    team: Team,
) -> None:
    assert team.go_on("alice", "bob") == "ok"
    bob, carol = team.here("bob"), team.here("carol")
    alice = team.guests["alice"]
    alice.open()
    alice.send(1, ROOM, b"one")
    assert team.go_on("alice", "carol", version=2) == "ok"
    alice.send(2, ROOM, b"two")
    assert (bob.bodies(), carol.bodies()) == ([b"one"], [b"two"])


def test_a_message_that_a_list_overtakes_on_its_way_is_to_be_sent_anew() -> None:
    store = Slow()
    team = Team(store=store)
    assert team.go_on("alice", "bob") == "ok"
    alice = team.guests["alice"]
    alice.open()
    store.slow = {"append"}
    alice.send(1, ROOM, b"late")
    team.world.run(1)
    assert team.go_on("alice", "bob", "carol", version=2) == "ok"
    while store.waiting:
        store.answer()
    store.slow.clear()
    team.world.run(1)
    assert alice.of("no") == [(1, b"room-changed")]
    alice.send(1, ROOM, b"late")
    team.world.run(1)
    assert [row.body for row in done(store.store.fetch("carol", 0, 9, 99))] == [b"late"]


# --- looking at lists ---


def fetched(guest: Guest, *asked: Any) -> list[Any]:
    lists = [{"room": "@team", **({} if one is None else {"version": one})} for one in asked]
    status, answer = guest.call("room.fetch", lists=lists)
    assert status == "ok", answer
    return [one and (one["version"], decode(one["list"])) for one in answer["lists"]]


def test_lists_are_served_as_they_came_by_version_or_the_newest(team: Team) -> None:
    raw = [team.raw("alice", "bob", version=version) for version in (1, 2)]
    assert fetched(team.guests["alice"], None) == [None]
    for one in raw:
        assert team.bring("alice", one) == "ok"
    bob = team.guests["bob"]
    both = [(1, raw[0]), (2, raw[1])]
    assert fetched(bob, 1, 2, None, 3, 0) == [*both, both[1], None, None]
    status, answer = bob.call("room.fetch", lists=[{"room": "@none"}, {"room": "@team"}])
    assert status == "ok"
    assert answer["lists"][0] is None
    assert answer["lists"][1]["room"] == "@team"


def test_a_removed_member_reads_the_lists_that_it_was_in_and_no_others(team: Team) -> None:
    assert team.go_on("alice") == "ok"
    assert team.go_on("alice", "bob", version=2) == "ok"
    assert team.go_on("alice", version=3) == "ok"
    found = [one is not None for one in fetched(team.guests["bob"], 1, 2, 3, None)]
    assert found == [False, True, False, False]
    assert fetched(team.guests["carol"], 1, 2, 3) == [None] * 3


def test_the_list_of_an_open_room_is_for_everybody() -> None:
    team = Team(join="open")
    assert team.go_on("alice") == "ok"
    assert fetched(team.guests["carol"], 1) == [(1, team.raw("alice"))]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"lists": []},
        {"lists": [{"room": "@team"}] * 25},
        {"lists": "@team"},
        {"lists": ["@team"]},
        {"lists": [{}]},
        {"lists": [{"room": "team"}]},
        {"lists": [{"room": "@team", "version": "1"}]},
        {"lists": [{"room": "@team", "version": -1}]},
        {"lists": [{"room": "@team", "versions": 1}]},
        {"lists": [{"room": "@team"}], "room": "@team"},
    ],
)
def test_questions_of_another_form_are_refused(team: Team, parameters: dict[str, Any]) -> None:
    assert team.guests["alice"].call("room.fetch", **parameters)[0] == "bad-request"
