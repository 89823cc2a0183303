"""Rooms are sealed for the members whom their owner signs, and for nobody else."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from securerelay.errors import ConnectError, Refused
from securerelay.protocol.sealed import RoomHeader, read_header
from securerelay.sealing import roomkey
from securerelay.sealing.resend import KeyRequest
from tests.client.sealing.town import Member, Town

DAY = 86_400.0
CANNOT = "1 message from alice cannot be opened yet"


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def team(town: Town) -> tuple[Member, Member, Member]:
    """Alice has made a room with Bob and Carol."""
    alice, bob, carol = town.settle("alice", "bob", "carol")
    town.after(alice.owner.create("@team", ["bob", "carol"]))
    return alice, bob, carol


def keys_sent(one: Member) -> list[str]:
    """To whom somebody has sent room keys."""
    return [to for to, kind in one.told if kind == roomkey.CONTENT_TYPE]


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


class TestMissingKeys:
    def lose(self, town: Town, team: tuple[Member, ...]) -> tuple[Member, Member]:
        """Alice's key gets lost on its way to Bob, and a message comes."""
        alice, bob, _ = team
        give, alice.rooms._tell = alice.rooms._tell, lambda *said: None
        alice.say("@team", "hello")
        alice.rooms._tell = give
        return alice, bob

    def test_a_message_waits_ten_seconds_for_its_key_before_that_is_asked_for(
        self, town: Town, team: tuple[Member, ...]
    ):
        _, bob = self.lose(town, team)
        town.run(9)
        assert bob.texts == bob.words == bob.told == []
        town.run(2)
        assert bob.told == [("alice", KeyRequest.CONTENT_TYPE)]
        assert bob.words == [CANNOT]
        assert bob.texts == ["alice: hello"]

    def test_a_key_that_comes_meanwhile_is_not_asked_for(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob = self.lose(town, team)
        key = alice.rooms._rooms["@team"].key
        alice.tell("bob", roomkey.CONTENT_TYPE, key.body())
        town.run(30)
        assert bob.texts == ["alice: hello"]
        assert bob.told == bob.words == []

    def test_a_key_is_asked_for_at_most_three_times_a_day(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob = self.lose(town, team)
        alice.away = True
        for _ in range(24):
            town.skip(3600 - 1)
            town.run(1)
        assert len(bob.told) == 3

    def test_after_sixteen_days_it_is_given_up(self, town: Town, team: tuple[Member, ...]):
        alice, bob = self.lose(town, team)
        alice.away = True
        for _ in range(16):
            town.run(11)
            assert bob.words == [CANNOT]
            town.skip(DAY)
        town.run(1)
        assert bob.texts == []
        assert bob.words == [CANNOT, "1 message from alice cannot be opened any more"]

    def test_who_was_removed_since_gets_no_key(self, town: Town, team: tuple[Member, ...]):
        alice, bob = self.lose(town, team)
        town.after(alice.owner.remove("@team", ["bob"]))
        town.run(11)
        assert bob.told == [("alice", KeyRequest.CONTENT_TYPE)]
        assert keys_sent(alice) == ["carol"]
        assert bob.texts == []

    def test_who_came_later_gets_no_earlier_key(self, town: Town, team: tuple[Member, ...]):
        alice, bob, _ = team
        alice.say("@team", "hello")
        (dora,) = town.settle("dora")
        town.after(alice.owner.add("@team", ["dora"]))
        key = alice.rooms._rooms["@team"].key
        alice.told.clear()
        request = KeyRequest(key.room_id, key.id).body()
        for one, answered in ((dora, []), (bob, ["bob"])):
            one.tell("alice", KeyRequest.CONTENT_TYPE, request)
            town.run(1)
            assert keys_sent(alice) == answered

    def test_who_asks_all_the_time_is_answered_three_times(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob, _ = team
        alice.say("@team", "hello")
        key = alice.rooms._rooms["@team"].key
        alice.told.clear()
        for _ in range(9):
            bob.tell("alice", KeyRequest.CONTENT_TYPE, KeyRequest(key.room_id, key.id).body())
        town.run(1)
        assert keys_sent(alice) == ["bob"] * 3

    def test_a_request_that_cannot_be_answered_now_stops_nothing(
        self, town: Town, team: tuple[Member, ...]
    ):
        alice, bob, _ = team
        alice.say("@team", "hello")
        key = alice.rooms._rooms["@team"].key
        alice.lists.doubt()
        alice.lists._call = lambda *_: fail(ConnectError("the connection was lost"))
        bob.tell("alice", KeyRequest.CONTENT_TYPE, KeyRequest(key.room_id, key.id).body())
        bob.say("alice", "after")
        assert alice.texts == ["bob: after"]
        alice.inbox.check()

    def test_a_key_of_somebody_elses_is_not_given_on(self, town: Town, team: tuple[Member, ...]):
        alice, bob, carol = team
        alice.say("@team", "hello")
        key = alice.rooms._rooms["@team"].key
        carol.tell("bob", KeyRequest.CONTENT_TYPE, KeyRequest(key.room_id, key.id).body())
        town.run(1)
        assert keys_sent(bob) == []

    def test_what_is_no_key_is_shown_and_nothing_more(self, town: Town, team: tuple[Member, ...]):
        alice, bob, _ = team
        alice.tell("bob", roomkey.CONTENT_TYPE, b"no key")
        town.run(1)
        assert bob.words == ["altered or misdirected message in alice's name"]
        alice.say("@team", "hello")
        assert bob.texts == ["alice: hello"]


def test_a_key_of_a_member_for_a_room_that_we_are_not_in_is_not_taken(town: Town):
    alice, _, carol = town.settle("alice", "bob", "carol")
    town.after(alice.owner.create("@team", ["bob"]))
    alice.say("@team", "hello")
    key = alice.rooms._rooms["@team"].key
    alice.tell("carol", roomkey.CONTENT_TYPE, key.body())
    town.run(1)
    assert town.after(carol.keys._find(key.id)) is None
