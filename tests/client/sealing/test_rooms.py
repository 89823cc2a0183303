"""Rooms are sealed for the members whom their owner signs, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.errors import Refused
from securerelay.protocol.sealed import RoomHeader, read_header
from securerelay.sealing import roomkey
from tests.client.sealing.town import Member, Town, keys_sent

DAY = 86_400.0
CANNOT = "1 message from alice cannot be opened yet"


def test_a_message_reaches_the_members_and_no_relay(team: tuple[Member, ...]):
    alice, bob, carol = team
    alice.say("@team", "lunch at noon")
    assert bob.texts == carol.texts == ["alice: lunch at noon"]
    assert not any(b"lunch at noon" in body for body in alice.bodies)
    assert bob.words == carol.words == []


def test_every_member_writes_under_a_key_of_its_own(team: tuple[Member, ...]):
    alice, _, carol = team
    for one in team:
        one.say("@team", one.name)
    assert carol.texts == ["alice: alice", "bob: bob"]
    assert alice.texts == ["bob: bob", "carol: carol"]
    headers = [read_header(one.bodies[-1]) for one in team]
    assert len({one.key_id for one in headers if isinstance(one, RoomHeader)}) == 3


def test_a_key_goes_before_the_first_message_though_a_members_keys_have_to_be_had_first(
    team: tuple[Member, ...],
):
    alice, bob, _ = team
    alice.contacts._peers.clear()  # as in a program that has just begun
    ready: list[bool] = []
    tell = alice.rooms._tell

    def telling(to: str, *said: Any) -> None:
        ready.append(alice.contacts.find(to) is not None)
        tell(to, *said)

    alice.rooms._tell = telling
    alice.say("@team", "hello")
    assert ready == [True, True]
    assert bob.texts == ["alice: hello"]
    assert bob.words == []


def test_a_key_serves_for_many_messages_and_then_for_a_day(town: Town, team: tuple[Member, ...]):
    alice, bob, _ = team
    for text in ("one", "two", "three"):
        alice.say("@team", text)
    assert sorted(keys_sent(alice)) == ["bob", "carol"]
    town.skip(DAY)
    alice.say("@team", "four")
    assert sorted(keys_sent(alice)) == ["bob", "bob", "carol", "carol"]
    assert len(bob.texts) == 4


def test_a_key_is_shared_by_the_programs_of_a_profile_and_counted(
    town: Town, team: tuple[Member, ...], monkeypatch: pytest.MonkeyPatch
):
    alice, bob, _ = team
    monkeypatch.setattr(roomkey, "MAX_MESSAGES", 3)
    alice.say("@team", "one")
    town.run(1)
    alice.rooms._rooms.clear()  # as in another program
    for text in ("two", "three"):
        alice.say("@team", text)
    assert len(keys_sent(alice)) == 2
    alice.say("@team", "four")
    assert len(keys_sent(alice)) == 4
    assert len(bob.texts) == 4


class TestMembers:
    def test_who_left_fifty_opens_nothing_later_and_who_joins_them_nothing_earlier(
        self, town: Town
    ):
        names = [f"member{number:02}" for number in range(50)]
        people = town.settle(*names, "newcomer")
        owner, gone, newcomer = people[0], people[7], people[-1]
        town.after(owner.owner.create("@crowd", names[1:]))
        town.asked.clear()
        owner.say("@crowd", "everybody")
        assert all(one.texts == ["member00: everybody"] for one in people[1:-1])
        fetches = [asked for who, method, asked in town.asked if method == "key.fetch"]
        assert not [asked for asked in fetches if "member01" in asked["peers"]][1:]

        town.after(owner.owner.remove("@crowd", ["member07"]))
        owner.say("@crowd", "without seven")
        town.after(owner.owner.add("@crowd", ["newcomer"]))
        owner.say("@crowd", "with the newcomer")

        assert gone.texts == ["member00: everybody"]
        assert newcomer.texts == ["member00: with the newcomer"]
        said = ["everybody", "without seven", "with the newcomer"]
        others = [one for one in people[1:-1] if one is not gone]
        assert all(one.texts == [f"member00: {text}" for text in said] for one in others)
        # Not that nobody brought them the messages: they have no key that opens them.
        later, earlier = owner.bodies[-1], next(b for b in owner.bodies if len(b) < 800)
        for one, body in ((gone, later), (newcomer, earlier)):
            header = read_header(body)
            assert isinstance(header, RoomHeader)
            assert town.after(one.keys._find(header.key_id)) is None

    def test_fifty_members_unknown_so_far_are_asked_for_in_one_call(self, town: Town):
        names = [f"member{number:02}" for number in range(50)]
        people = town.settle(*names)
        town.after(people[0].owner.create("@crowd", names[1:]))
        town.asked.clear()
        people[1].say("@crowd", "hello")
        asked = [
            sorted(asked["peers"])
            for who, method, asked in town.asked
            if (who, method) == ("member01", "key.fetch") and len(asked["peers"]) > 1
        ]
        assert asked == [[name for name in names if name not in ("member00", "member01")]]
        assert people[49].texts == ["member01: hello"]

    def test_who_left_is_not_put_back_in_by_the_next_list(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob, carol = team
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        (dora,) = town.settle("dora")
        town.after(alice.owner.add("@team", ["dora"]))
        assert sorted(alice.lists.newest("@team").members) == ["alice", "carol", "dora"]
        alice.say("@team", "hello")
        assert bob.texts == []
        assert dora.texts == carol.texts == ["alice: hello"]

    def test_nobody_but_the_owner_signs(self, town: Town, team: tuple[Member, ...]):
        _, bob, _ = team
        with pytest.raises(Refused, match="not-permitted"):
            town.after(bob.owner.remove("@team", ["carol"]))

    def test_the_owner_cannot_be_removed(self, town: Town, team: tuple[Member, ...]):
        alice, *_ = team
        with pytest.raises(Refused, match="not-permitted"):
            town.after(alice.owner.remove("@team", ["alice"]))

    def test_who_is_no_member_cannot_be_removed_and_nothing_changes(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, *_ = team
        before = alice.lists.newest("@team")
        with pytest.raises(Refused, match="dora is no member of @team"):
            town.after(alice.owner.remove("@team", ["bob", "dora"]))
        assert town.after(alice.lists.refresh("@team")) == before

    def test_who_has_left_can_be_taken_off_the_list(self, town: Town, team: tuple[Member, ...]):
        alice, bob, _ = team
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        town.after(alice.owner.remove("@team", ["bob"]))
        assert sorted(alice.lists.newest("@team").members) == ["alice", "carol"]

    def test_nobody_is_listed_whose_keys_are_not_to_be_had(self, town: Town):
        alice, *_ = town.settle("alice")
        with pytest.raises(Refused, match="unknown"):
            town.after(alice.owner.create("@team", ["nobody1"]))
        assert alice.guest.call("room.members", room="@team")[0] == "unknown"

    def test_two_programs_that_change_a_room_at_once_both_succeed(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, *_ = team
        town.settle("dora", "emil")
        both = [alice.owner.add("@team", [name]) for name in ("dora", "emil")]
        for one in [Deferred.fromCoroutine(work) for work in both]:
            town.after(one)
        assert {"dora", "emil"} <= alice.lists.newest("@team").members.keys()

    def test_whoever_asks_to_join_is_shown_to_the_owner(self, town: Town, team: tuple[Member, ...]):
        alice, bob, _ = team
        (dora,) = town.settle("dora")
        for one in (dora, bob):
            one.tell("alice", "application/vnd.securerelay.join", b"@team")
        bob.tell("alice", "application/vnd.securerelay.join", b"@other")
        bob.tell("carol", "application/vnd.securerelay.join", b"@team")
        town.run(1)
        assert sorted(alice.words) == [
            f"{name} asks to be in @team; to agree: securerelay room add @team {name}"
            for name in ("bob", "dora")
        ]
        assert team[2].words == alice.texts == []


class TestChange:
    def test_a_message_that_met_a_change_is_sealed_anew_for_the_new_members(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob, carol = team
        bob.say("@team", "before")
        bob.parts.heard = lambda event: None  # the news of the change is on its way
        town.after(alice.owner.remove("@team", ["carol"]))
        bob.say("@team", "after")
        headers = [read_header(body) for body in bob.bodies]
        versions = [one.version for one in headers if isinstance(one, RoomHeader)]
        assert versions == [1, 1, 2]
        assert alice.texts == ["bob: before", "bob: after"]
        assert carol.texts == ["bob: before"]

    def test_what_was_sent_to_an_older_list_is_marked(self, town: Town, team: tuple[Member, ...]):
        alice, bob, carol = team
        carol.away = True
        bob.say("@team", "to the three of us")
        town.settle("dora")
        town.after(alice.owner.add("@team", ["dora"]))
        town.after(carol.lists.refresh("@team"))
        carol.away = False
        town.run(1)
        assert carol.texts == ["bob: to the three of us"]
        assert carol.words == ["sent to the members of version 1"]

    def test_lists_that_came_while_one_was_away_are_fetched_afterwards(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob, carol = team
        alice.say("@team", "one")
        carol.away = True
        town.settle("dora", "emil")
        town.after(alice.owner.add("@team", ["dora"]))
        bob.say("@team", "two")
        town.after(alice.owner.add("@team", ["emil"]))
        alice.say("@team", "three")
        carol.away = False
        town.run(1)
        assert carol.texts == ["alice: one", "bob: two", "alice: three"]
        assert carol.words == ["sent to the members of version 2"]

    def test_the_text_of_a_removed_member_is_not_shown(self, town: Town, team: tuple[Member, ...]):
        alice, bob, carol = team
        bob.say("@team", "before")
        carol.away = True
        bob.say("@team", "revenge")
        town.after(alice.owner.remove("@team", ["bob"]))
        town.after(carol.lists.refresh("@team"))
        carol.away = False
        town.run(1)
        assert carol.texts == ["bob: before"]
        assert carol.words == ["message of a removed member"]

    def test_a_room_without_a_list_is_not_sealed_for_and_not_sent_to(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        assert alice.guest.call("room.create", room="@plain")[0] == "ok"
        with pytest.raises(Refused, match="unlisted: @plain has no signed list"):
            alice.say("@plain", "hello")
        with pytest.raises(Refused, match="unknown"):
            bob.say("@plain", "hello")
        assert alice.bodies == []

    def test_who_is_not_in_the_list_does_not_send(self, town: Town, team: tuple[Member, ...]):
        alice, bob, _ = team
        bob.say("@team", "one")
        older = bob.lists.newest("@team")
        town.after(alice.owner.remove("@team", ["bob"]))
        with pytest.raises(Refused, match="unknown"):
            bob.say("@team", "two")
        assert older.has(bob.own.identity.fp)
