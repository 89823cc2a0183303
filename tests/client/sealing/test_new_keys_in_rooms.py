"""New keys of members and owners, in rooms whose members are listed by their fingerprints."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from securerelay.sealing.roomlist import RoomList
from tests.client.sealing.town import Member, Town

Team = tuple[Member, Member, Member]


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def team(town: Town) -> Team:
    """Alice has made a room with Bob and Carol, and all have heard of each other."""
    alice, bob, carol = town.settle("alice", "bob", "carol")
    town.after(alice.owner.create("@team", ["bob", "carol"]))
    for one in (alice, bob, carol):
        one.say("@team", "hello")
    return alice, bob, carol


def newest(town: Town, one: Member) -> RoomList:
    found = town.after(one.lists.refresh("@team"))
    assert isinstance(found, RoomList)
    return found


def test_a_member_is_listed_anew_by_the_owner(town: Town, team: Team) -> None:
    alice, bob, carol = team
    town.run(61)  # who writes in a name is asked once a minute
    bob.rotate(20)
    for one in (alice, carol):
        town.after(one.contacts.renew("bob"))
    town.after(alice.owner.settle("@team"))
    assert newest(town, carol).members["bob"] == bob.own.identity.fp
    alice.say("@team", "welcome back")
    bob.say("@team", "here I am")
    assert bob.texts == ["alice: welcome back"]
    assert carol.texts[-2:] == ["alice: welcome back", "bob: here I am"]


def test_an_owner_signs_the_next_list_with_his_new_keys_and_members_follow(
    town: Town, team: Team
) -> None:
    alice, bob, carol = team
    before = newest(town, bob)
    town.after(alice.owner.appoint("@team", ["bob"]))
    town.run(61)
    alice.rotate(20)
    town.after(alice.owner.settle("@team"))
    one = newest(town, carol)
    assert one.owner == one.signer == one.members["alice"] == alice.own.identity.fp != before.owner
    assert one.grant.admins == (bob.own.identity.fp,)
    alice.say("@team", "with new keys")
    carol.say("@team", "heard")
    assert bob.texts[-2:] == ["alice: with new keys", "carol: heard"]
    assert alice.texts == ["carol: heard"]
    assert "the owner of @team changed" not in (*bob.words, *carol.words)
    # The admin whom the new grant names goes on.
    town.after(bob.owner.remove("@team", ["carol"]))
    assert set(newest(town, alice).members) == {"alice", "bob"}


def test_a_list_is_not_signed_anew_for_nothing(town: Town, team: Team) -> None:
    alice, *_ = team
    before = newest(town, alice).version
    town.after(alice.owner.settle("@team"))
    assert newest(town, alice).version == before
