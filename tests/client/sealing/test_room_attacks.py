"""What a relay that was taken over tries with rooms, and the words in which members hear of it.

Each attack is the whole of it: without the check that catches it, its test fails.
"""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from securerelay.crypto import primitives
from securerelay.protocol.lines import decode, encode
from securerelay.sealing import bundle, roomlist
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content
from securerelay.sealing.prekeys import Prekey
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Rejected
from tests.client.sealing.town import Answer, Member, Town
from tests.keys import authority, rsa_key, spki

OLD = "the relay serves an old list of members of @team"
INVALID = "the relay serves no valid list of members of @team"
Team = tuple[Member, ...]


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def team(town: Town) -> Team:
    """Alice has a room with Bob and Carol; Mallory is a peer, and not in it."""
    people = town.settle("alice", "bob", "carol", "mallory")
    town.after(people[0].owner.create("@team", ["bob", "carol"]))
    people[0].say("@team", "welcome")
    return people


def serve(town: Town, change: Callable[[bytes], bytes]) -> None:
    """Have the relay serve another list than the one it should."""

    def lie(who: Member, asked: Answer, said: Answer) -> Answer:
        (one,) = said["lists"]
        raw = change(decode(one["list"]) if one else b"")
        return {"lists": [{"room": "@team", "list": encode(raw)}]}

    town.lies["room.fetch"] = lie


def news(town: Town) -> None:
    """The relay says that the list is another one now, and everybody looks again."""
    for one in town.people.values():
        one.lists.doubt()


def signed(one: RoomList, signer: Author, **changes: Any) -> bytes:
    """Return a list like another one, with changes, signed by somebody."""
    values: dict[str, Any] = {
        "name": one.name,
        "room_id": one.room_id,
        "version": one.version + 1,
        "time": one.time + 1,
        "owner": one.owner,
        "grant": one.grant.raw,
        "members": dict(one.members),
        **changes,
    }
    return roomlist.build(signer, **values)


def with_mallory(team: Team) -> dict[str, bytes]:
    alice, *_, mallory = team
    return {**alice.lists.newest("@team").members, "mallory": mallory.own.identity.fp}


def sends_nothing(town: Town, one: Member, code: str) -> None:
    """Somebody tries to send to the room; it is refused, and nothing is sealed."""
    before = len(one.bodies)
    with pytest.raises(Rejected, match=f"^{code}"):
        one.say("@team", "secret")
    assert len(one.bodies) == before


class TestAnAddedMember:
    def test_a_list_that_the_relay_signed_is_no_list(self, town: Town, team: Team):
        _, bob, _, _ = team
        one = bob.lists.newest("@team")
        own = replace(team[0].own.identity, message_key=primitives.ed25519_public(bytes(32)))
        relay = Author(own, bytes(32))
        forged = signed(one, relay, members=with_mallory(team))
        # The relay can name whom it likes as the signer; only the signature tells.
        forged = forged.replace(own.fp, one.owner)
        serve(town, lambda raw: forged)
        news(town)
        sends_nothing(town, bob, "list-bad")
        assert bob.words == [INVALID]

    def test_a_list_that_somebody_else_than_the_owner_signed_is_no_list(
        self, town: Town, team: Team
    ):
        _, bob, carol, mallory = team
        one = bob.lists.newest("@team")
        for signer, verdict in ((carol, "list-bad"), (mallory, "list-bad")):
            serve(
                town,
                lambda raw, signer=signer: signed(
                    one, signer.own.author, members=with_mallory(team)
                ),
            )
            news(town)
            sends_nothing(town, bob, verdict)
        assert bob.words == [INVALID]

    def test_a_member_put_into_a_signed_list_breaks_it(self, town: Town, team: Team):
        _, bob, _, mallory = team
        carol = bob.lists.newest("@team").members["carol"]
        serve(town, lambda raw: raw.replace(carol, mallory.own.identity.fp))
        news(town)
        sends_nothing(town, bob, "list-bad")
        assert bob.words == [INVALID]

    def test_an_owner_who_signs_a_grant_for_himself_is_not_the_owner(self, town: Town, team: Team):
        _, bob, _, mallory = team
        one = bob.lists.newest("@team")
        author = mallory.own.author
        grant = roomlist.build_grant(author, one.room_id, 2, [author.identity.fp])
        serve(town, lambda raw: signed(one, author, grant=grant, members=with_mallory(team)))
        news(town)
        sends_nothing(town, bob, "list-bad")
        assert bob.words == [INVALID]

    def test_another_room_under_the_name_is_not_taken(self, town: Town, team: Team):
        _, bob, _, mallory = team
        one = bob.lists.newest("@team")
        author = mallory.own.author
        serve(
            town,
            lambda raw: signed(
                one,
                author,
                room_id=b"m" * 16,
                owner=author.identity.fp,
                grant=roomlist.build_grant(author, b"m" * 16, 1, ()),
                members=with_mallory(team),
            ),
        )
        news(town)
        sends_nothing(town, bob, "room-changed-hands")
        assert bob.words == ["the owner of @team changed"]

    def test_mail_that_the_relay_gives_to_a_stranger_does_not_open_there(
        self, town: Town, team: Team
    ):
        alice, bob, _, mallory = team
        bob.say("@team", "secret")
        stream = (b"x" * 22, 1)
        for body in (*alice.bodies, *bob.bodies):
            n = mallory.inbox.last + 1
            mallory.inbox.received(n, b"bob", b"@team", *stream, 5, body)
            stream = (b"x" * 22, stream[1] + 1)
        town.run(30)
        assert mallory.texts == []


class TestStaleMembership:
    def test_an_older_list_is_refused_and_nothing_is_sealed_for_it(self, town: Town, team: Team):
        alice, bob, carol, _ = team
        older = bob.lists.newest("@team")
        town.after(alice.owner.remove("@team", ["carol"]))
        bob.say("@team", "carol is gone")
        assert carol.texts == ["alice: welcome"]
        serve(town, lambda raw: older.raw)
        news(town)
        sends_nothing(town, bob, "list-rollback")
        assert bob.words == [OLD]

    def test_no_list_after_there_was_one_is_an_older_one(self, town: Town, team: Team):
        _, bob, _, _ = team
        town.lies["room.fetch"] = lambda who, asked, said: {"lists": [None]}
        town.lies["room.members"] = lambda who, asked, said: {**said, "listed": 0}
        news(town)
        sends_nothing(town, bob, "list-rollback")
        assert bob.words == [OLD]

    def test_two_lists_of_one_version_are_not_both_taken(self, town: Town, team: Team):
        alice, bob, _, _ = team
        one = bob.lists.newest("@team")
        other = signed(one, alice.own.author, version=one.version, members=with_mallory(team))
        serve(town, lambda raw: other)
        news(town)
        sends_nothing(town, bob, "room-conflict")
        assert bob.words == [f"{OLD}: two lists with one version"]

    def test_an_older_grant_is_an_older_list(self, town: Town, team: Team):
        alice, bob, _, _ = team
        one, author = bob.lists.newest("@team"), alice.own.author
        newer = roomlist.build_grant(author, one.room_id, 2, ())
        town.after(bob.lists.take(signed(one, author, grant=newer), "@team"))
        serve(town, lambda raw: signed(one, author, version=one.version + 2))
        news(town)
        sends_nothing(town, bob, "list-rollback")
        assert bob.words == [OLD]

    def test_sending_goes_on_when_the_relay_serves_the_newest_again(self, town: Town, team: Team):
        alice, bob, _, _ = team
        older = bob.lists.newest("@team")
        town.after(alice.owner.add("@team", ["mallory"]))
        town.after(bob.lists.refresh("@team"))
        serve(town, lambda raw: older.raw)
        news(town)
        sends_nothing(town, bob, "list-rollback")
        town.lies.clear()
        bob.say("@team", "there we are")
        assert alice.texts == ["bob: there we are"]
        assert bob.words == [OLD]

    def test_who_was_removed_is_not_heard_though_the_relay_hides_it_from_him(
        self, town: Town, team: Team
    ):
        alice, bob, carol, _ = team
        older = alice.lists.newest("@team")
        town.after(alice.owner.remove("@team", ["bob"]))
        town.after(carol.lists.refresh("@team"))
        serve(town, lambda raw: older.raw)
        news(town)
        still = town.after(bob.rooms.want("@team"))
        stream = base64.urlsafe_b64decode(bob.stream + b"==")
        content = Content(stream, 99, "@team", 9, 5, bob.own.number, "text/plain", b"still here")
        # The relay takes it, and delivers it.
        n = carol.inbox.last + 1
        carol.inbox.received(n, b"bob", b"@team", bob.stream, 99, 5, still.seal(content))
        town.run(1)
        assert carol.texts == ["alice: welcome"]
        assert carol.words == ["message of a removed member"]


class TestAMemberWithOtherKeys:
    def second_bob(self, town: Town) -> Identity:
        """The authority makes another Bob, and the relay shows his keys."""
        key = rsa_key(index=60)
        seed = bytes(range(32))
        other = Identity(
            authority().relay_id, "bob", spki(index=60), primitives.ed25519_public(seed)
        )
        der = authority().issue_peer("bob", spki(index=60), town.world.date()).der
        now = int(town.now() * 1000)
        raw = bundle.build(
            key, other, der, number=now + 1, issued=now, prekey=Prekey.generate().public
        )

        def lie(who: Member, asked: Answer, said: Answer) -> Answer:
            bundles = dict(said["bundles"])
            if who.name != "bob" and bundles.get("bob"):
                bundles["bob"] = {**bundles["bob"], "bundle": encode(raw)}
            return {"bundles": bundles}

        town.lies["key.fetch"] = lie
        return other

    def test_who_is_pinned_otherwise_gets_no_key_and_that_is_shown(self, town: Town, team: Team):
        alice, _, carol, _ = team
        other = self.second_bob(town)
        # Carol has never seen Bob; the owner's list has the true one.
        carol.say("@team", "hello")
        assert "bob" not in [to for to, _ in carol.told]
        assert alice.texts == ["carol: hello"]
        assert other.fp not in alice.lists.newest("@team").members.values()
        pin = carol.contacts.pin("bob")
        assert pin is None

    def test_a_listed_member_is_not_pinned_with_another_key_though_no_log_speaks_against_it(
        self, town: Town, team: Team
    ):
        _, _, carol, _ = team
        carol.contacts.log = None
        self.second_bob(town)
        carol.say("@team", "hello")
        assert "bob" not in [to for to, _ in carol.told]
        assert carol.contacts.pin("bob") is None

    def test_a_list_with_another_key_than_the_one_known_gives_it_no_key(
        self, town: Town, team: Team
    ):
        alice, _, carol, _ = team
        one = alice.lists.newest("@team")
        carol.say("@team", "hello")
        carol.told.clear()
        other = self.second_bob(town)
        # Alice was deceived, and signed the second Bob.
        wrong = signed(one, alice.own.author, members={**one.members, "bob": other.fp})
        serve(town, lambda raw: wrong)
        news(town)
        town.after(carol.rooms.want("@team"))
        assert [to for to, _ in carol.told] == ["alice"]
        assert carol.words == [
            "@team lists another key of bob, who gets no messages of yours there"
        ]


class TestDroppedStreams:
    """Alice's programs end and begin; the relay drops what one of them said last, or all of it."""

    MISSING = "{} from alice missing (expired or withheld)"

    def begins(
        self, town: Town, alice: Member, to: Member, stream: bytes, *heads: tuple[bytes, int]
    ) -> None:
        """A program of alice's says its first message to the room, and one member gets it."""
        room = town.after(alice.rooms.want("@team"))
        content = Content(
            *(stream, 1, "@team", 1, 5, alice.own.number, "text/plain", stream), heads=heads
        )
        n = to.inbox.last + 1
        to.inbox.received(n, b"alice", b"@team", encode(stream).encode(), 1, 5, room.seal(content))
        town.run(1)
        assert to.texts[-1] == f"alice: {stream.decode()}"

    def first(self, alice: Member) -> bytes:
        return base64.urlsafe_b64decode(alice.stream + b"==")

    def test_a_dropped_end_is_missed_at_the_first_message_of_another(self, town: Town, team: Team):
        alice, bob, *_ = team
        self.begins(town, alice, bob, b"b" * 16, (self.first(alice), 3))
        assert bob.words == [self.MISSING.format("2 messages")]
        self.begins(town, alice, bob, b"c" * 16, (b"b" * 16, 1), (self.first(alice), 3))
        assert len(bob.words) == 1

    def test_a_whole_stream_that_was_dropped_is_missed_too(self, town: Town, team: Team):
        alice, bob, *_ = team
        self.begins(town, alice, bob, b"c" * 16, (b"b" * 16, 4), (self.first(alice), 1))
        assert bob.words == [self.MISSING.format("4 messages")]

    def test_who_came_later_misses_nothing_of_before_and_everything_of_after(
        self, town: Town, team: Team
    ):
        alice, _, _, late = team
        town.after(alice.owner.add("@team", ["mallory"]))
        before = (b"b" * 16, 2), (self.first(alice), 1)
        self.begins(town, alice, late, b"c" * 16, *before)
        self.begins(town, alice, late, b"d" * 16, (b"c" * 16, 1), *before)
        assert late.words == []
        known = (b"d" * 16, 3), (b"x" * 16, 2), (b"c" * 16, 1), *before
        self.begins(town, alice, late, b"e" * 16, *known)
        assert late.words == [self.MISSING.format("4 messages")]
        known = (b"y" * 16, 7), *before
        self.begins(town, alice, late, b"f" * 16, *known)
        assert late.words[1:] == [self.MISSING.format("1 message")], "how many is not known"
