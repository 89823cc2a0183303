"""Rooms that others than their owner look after, and what such a one may try."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from securerelay.client.sealing import roomleavers
from securerelay.errors import Refused
from securerelay.protocol.lines import encode
from securerelay.sealing import roomlist
from securerelay.sealing.pins import Former
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Rejected
from tests.client.sealing.town import Member, Town

OLD = "the relay serves an old list of members of @team"
INVALID = "the relay serves no valid list of members of @team"
LEFT = "bob is in @team no more; who signs its list of members takes the name off"
Team = tuple[Member, ...]


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def team(town: Town) -> Team:
    """Alice has a room with Bob, an admin, and Carol; Mallory is a peer, and not in it."""
    people = town.settle("alice", "bob", "carol", "mallory")
    alice, bob, *_ = people
    town.after(alice.owner.create("@team", ["bob", "carol"]))
    town.after(alice.owner.appoint("@team", ["bob"]))
    alice.say("@team", "welcome")
    bob.say("@team", "hello")
    return people


def newest(one: Member) -> RoomList:
    found = one.lists.newest("@team")
    assert found is not None
    return found


class TestAdmins:
    def test_an_admin_adds_and_removes_members_and_everybody_goes_by_it(
        self, town: Town, team: Team
    ):
        alice, bob, carol, mallory = team
        town.after(bob.owner.add("@team", ["mallory"]))
        town.after(bob.owner.remove("@team", ["carol"]))
        alice.say("@team", "without carol")
        assert mallory.texts == ["alice: without carol"]
        assert carol.texts == ["alice: welcome", "bob: hello"]
        assert alice.words == bob.words == mallory.words == []

    def test_who_was_dismissed_signs_no_more_and_may_be_appointed_again(
        self, town: Town, team: Team
    ):
        alice, bob, *_ = team
        town.after(alice.owner.dismiss("@team", ["bob", "carol"]))
        with pytest.raises(Refused, match=r"not-permitted.*nor are you an admin"):
            town.after(bob.owner.add("@team", ["mallory"]))
        town.after(alice.owner.appoint("@team", ["bob"]))
        town.after(bob.owner.add("@team", ["mallory"]))
        assert newest(alice).grant.number == 4
        assert "mallory" in newest(alice).members or town.after(alice.lists.refresh("@team"))

    def test_an_admin_who_is_removed_is_an_admin_no_more(self, town: Town, team: Team):
        alice, bob, *_ = team
        town.after(alice.owner.remove("@team", ["bob"]))
        assert newest(alice).grant.admins == ()
        town.after(alice.owner.add("@team", ["bob"]))
        with pytest.raises(Refused, match="not-permitted"):
            town.after(bob.owner.add("@team", ["mallory"]))

    def test_the_owner_alone_says_who_is_an_admin(self, town: Town, team: Team):
        alice, bob, carol, _ = team
        town.after(alice.owner.appoint("@team", ["carol"]))
        for work in (
            bob.owner.appoint("@team", ["bob", "carol", "alice"]),
            bob.owner.dismiss("@team", ["carol"]),
            bob.owner.remove("@team", ["carol"]),
        ):
            with pytest.raises(Refused, match="who is an admin is for the room's owner to say"):
                town.after(work)
        assert set(newest(carol).members) == {"alice", "bob", "carol"}

    def test_nobody_removes_the_owner_or_himself(self, town: Town, team: Team):
        _, bob, *_ = team
        with pytest.raises(Refused, match="the owner cannot be removed"):
            town.after(bob.owner.remove("@team", ["alice"]))
        with pytest.raises(Refused, match="nobody removes himself"):
            town.after(bob.owner.remove("@team", ["bob"]))

    def test_only_members_become_admins_and_not_too_many(
        self, town: Town, team: Team, monkeypatch: pytest.MonkeyPatch
    ):
        alice, *_ = team
        with pytest.raises(Refused, match="mallory is no member of @team"):
            town.after(alice.owner.appoint("@team", ["mallory"]))
        monkeypatch.setattr(roomlist, "MAX_ADMINS", 1)
        with pytest.raises(Refused, match="too-many"):
            town.after(alice.owner.appoint("@team", ["carol"]))

    def test_to_appoint_an_admin_again_changes_no_grant(self, town: Town, team: Team):
        alice, *_ = team
        before = newest(alice).grant
        town.after(alice.owner.appoint("@team", ["bob", "alice"]))
        assert newest(alice).grant == before


class TestWhoLeft:
    def test_the_owner_takes_who_left_off_the_list_and_members_are_told(
        self, town: Town, team: Team
    ):
        alice, bob, carol, mallory = team
        town.after(alice.owner.add("@team", ["mallory"]))
        town.run(1)
        version = newest(alice).version
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        town.run(1)
        assert set(newest(alice).members) == {"alice", "carol", "mallory"}
        assert newest(alice).version == version + 1
        assert newest(alice).grant.admins == ()
        assert alice.words == carol.words == [LEFT]
        assert mallory.words == []  # the room is not known there yet, nor a list that named him
        assert bob.words == []
        carol.say("@team", "bob is gone")
        assert bob.texts == ["alice: welcome"]

    def test_an_admin_does_it_if_the_owner_does_not(self, town: Town, team: Team):
        alice, bob, carol, _ = team
        town.after(alice.owner.appoint("@team", ["carol"]))
        town.after(carol.lists.refresh("@team"))
        alice.parts.heard = lambda event: None
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        town.run(1)
        assert "bob" in newest(carol).members
        town.run(roomleavers.PATIENCE)
        assert set(newest(carol).members) == {"alice", "carol"}
        # Bob still is in the grant, which is not an admin's to change, but the owner's.
        assert newest(carol).grant.admins.count(bob.own.identity.fp) == 1
        alice.parts.leavers.connected()
        town.run(roomleavers.SETTLED + 1)
        assert newest(alice).grant.admins == (carol.own.identity.fp,)

    def test_who_left_while_nobody_was_there_is_noticed_by_who_comes_next(
        self, town: Town, team: Team
    ):
        alice, bob, *_ = team
        alice.parts.heard = lambda event: None
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        town.run(1)
        alice.parts.leavers.connected()
        town.run(roomleavers.SETTLED + 1)
        assert set(newest(alice).members) == {"alice", "carol"}
        version = newest(alice).version
        alice.parts.leavers.connected()
        town.run(roomleavers.SETTLED + 1)
        assert newest(alice).version == version

    def test_a_mere_member_signs_nothing(self, town: Town, team: Team):
        alice, bob, carol, _ = team
        alice.parts.heard = lambda event: None
        assert bob.guest.call("room.leave", room="@team")[0] == "ok"
        town.run(roomleavers.PATIENCE + 1)
        assert carol.words == [LEFT]
        assert not [
            asked for who, method, asked in town.asked if (who, method) == ("carol", "room.publish")
        ]

    def test_a_closed_client_looks_no_more(self, town: Town, team: Team):
        alice, *_ = team
        alice.parts.leavers.connected()
        alice.parts.leavers.close()
        town.asked.clear()
        town.run(roomleavers.SETTLED + 1)
        assert town.asked == []


class TestWithoutTheOwner:
    """A room is its owner's: what its members hold on to cannot be handed over."""

    def test_the_owner_does_not_hand_a_sealed_room_over(self, town: Town, team: Team):
        alice, *_ = team
        status, said = alice.guest.call("room.change", room="@team", owner="bob")
        assert status == "signed"
        assert said["message"] == (
            "a sealed room cannot be handed over, for its members rely on its owner's signature; "
            "name admins, or make another room"
        )

    def test_when_the_owner_is_gone_the_list_stays_and_members_go_on_by_it(
        self, town: Town, team: Team
    ):
        _, bob, carol, _ = team
        town.revoke("alice")
        town.run(roomleavers.PATIENCE + 1)
        with pytest.raises(
            Refused, match=r"owner of @team is gone, who alone .* make another room"
        ):
            town.after(bob.owner.add("@team", ["mallory"]))
        carol.say("@team", "still here")
        assert bob.texts[-1] == "carol: still here"

    def test_whom_the_administrator_gave_it_can_make_it_anew_and_members_are_asked(
        self, town: Town, team: Team
    ):
        _, bob, carol, _ = team
        town.run(1)  # what was said is kept by then
        town.after(town.world.router.rooms.give("@team", "carol"))
        with pytest.raises(Refused, match="@team is not yours, nor are you an admin"):
            town.after(carol.owner.add("@team", ["mallory"]))
        assert carol.guest.call("room.delete", room="@team")[0] == "ok"
        town.after(carol.owner.create("@team", ["bob"]))
        with pytest.raises(Rejected, match="room-changed-hands"):
            bob.say("@team", "who is this")
        assert bob.words[-1] == "the owner of @team changed"
        town.after(bob.lists.forget("@team"))
        bob.say("@team", "there we are")
        assert carol.texts[-1] == "bob: there we are"

    def test_an_owner_with_new_keys_has_to_sign_first(self, town: Town, team: Team):
        _, bob, *_ = team
        pin = bob.contacts.pin("alice")
        assert pin is not None
        moved = replace(
            pin,
            identity=replace(pin.identity, message_key=bytes(32)),
            former=(Former(pin.identity, town.world.context.now() + 1),),
        )
        bob.contacts._pins["alice"] = moved
        with pytest.raises(Refused, match="the owner of @team has new keys, and has to sign"):
            town.after(bob.owner.add("@team", ["mallory"]))


class TestFormerAndFalseAdmins:
    """Each with the relay's help, which serves what nobody who is honest would take."""

    def serve(self, town: Town, raw: bytes) -> None:
        town.lies["room.fetch"] = lambda who, asked, said: {
            "lists": [{"room": "@team", "list": encode(raw)}]
        }
        for one in town.people.values():
            one.lists.doubt()

    def sends_nothing(self, one: Member, code: str, words: str) -> None:
        before = len(one.bodies)
        with pytest.raises(Rejected, match=f"^{code}"):
            one.say("@team", "secret")
        assert len(one.bodies) == before
        assert one.words == [words]

    def by_bob(self, team: Team, **changes: Any) -> bytes:
        """What Bob signs, with Mallory on it, to follow the newest list that Carol has."""
        _, bob, carol, mallory = team
        one = newest(carol)
        values: dict[str, Any] = {
            "name": one.name,
            "room_id": one.room_id,
            "version": one.version + 1,
            "time": one.time + 1,
            "owner": one.owner,
            "grant": one.grant.raw,
            "members": {**one.members, "mallory": mallory.own.identity.fp},
            **changes,
        }
        return roomlist.build(bob.own.author, **values)

    def test_what_bob_signs_as_an_admin_is_taken(self, town: Town, team: Team):
        *_, carol, mallory = team
        self.serve(town, self.by_bob(team))
        town.after(carol.rooms.want("@team"))
        assert newest(carol).has(mallory.own.identity.fp)

    def test_a_former_admin_uses_the_grant_of_before(self, town: Town, team: Team):
        alice, _, carol, _ = team
        old = newest(carol).grant.raw
        town.after(alice.owner.dismiss("@team", ["bob"]))
        carol.say("@team", "one")
        self.serve(town, self.by_bob(team, grant=old))
        self.sends_nothing(carol, "list-rollback", OLD)

    def test_a_former_admin_goes_on_under_the_grant_that_dismissed_him(
        self, town: Town, team: Team
    ):
        alice, _, carol, _ = team
        town.after(alice.owner.dismiss("@team", ["bob"]))
        carol.say("@team", "one")
        self.serve(town, self.by_bob(team))
        self.sends_nothing(carol, "list-bad", INVALID)

    def test_a_former_admin_signs_a_grant_himself(self, town: Town, team: Team):
        alice, bob, carol, _ = team
        town.after(alice.owner.dismiss("@team", ["bob"]))
        carol.say("@team", "one")
        author, number = bob.own.author, newest(carol).grant.number
        grant = roomlist.build_grant(
            author, newest(carol).room_id, number + 1, [author.identity.fp]
        )
        self.serve(town, self.by_bob(team, grant=grant))
        self.sends_nothing(carol, "list-bad", INVALID)

    def test_the_list_of_an_admin_under_an_older_grant_is_an_older_list(
        self, town: Town, team: Team
    ):
        alice, _, carol, _ = team
        old = newest(carol).grant.raw
        town.after(alice.owner.appoint("@team", ["carol"]))  # Bob remains one
        carol.say("@team", "one")
        self.serve(town, self.by_bob(team, grant=old))
        self.sends_nothing(carol, "list-rollback", OLD)

    def test_two_grants_with_one_number_are_not_both_taken(self, town: Town, team: Team):
        alice, _, carol, _ = team
        held = newest(carol).grant
        fps = [*held.admins, carol.own.identity.fp]
        other = roomlist.build_grant(alice.own.author, held.room_id, held.number, fps)
        self.serve(town, self.by_bob(team, grant=other))
        self.sends_nothing(carol, "room-conflict", f"{OLD}: two lists with one version")

    def test_an_admin_makes_itself_the_owner(self, town: Town, team: Team):
        _, bob, carol, _ = team
        author, held = bob.own.author, newest(carol).grant
        grant = roomlist.build_grant(author, held.room_id, held.number + 1, held.admins)
        self.serve(town, self.by_bob(team, owner=author.identity.fp, grant=grant))
        self.sends_nothing(carol, "room-changed-hands", "the owner of @team changed")

    def test_an_admin_goes_back_to_a_list_of_before(self, town: Town, team: Team):
        alice, _, carol, _ = team
        version = newest(carol).version
        town.after(alice.owner.add("@team", ["carol"]))
        carol.say("@team", "one")
        self.serve(town, self.by_bob(team, version=version))
        self.sends_nothing(carol, "list-rollback", OLD)
