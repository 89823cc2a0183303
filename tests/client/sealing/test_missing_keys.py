"""A member who misses a key asks for it, waits, and gets no other than what is for it."""

from __future__ import annotations

from twisted.internet.defer import fail

from securerelay.errors import ConnectError
from securerelay.sealing import roomkey
from securerelay.sealing.resend import KeyRequest
from tests.client.sealing.town import Member, Town, keys_sent

DAY = 86_400.0
CANNOT = "1 message from alice cannot be opened yet"


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
