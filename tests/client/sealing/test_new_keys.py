"""A peer with new keys: contacts follow, what was sealed for the old opens, nothing is lost."""

from __future__ import annotations

import pathlib

import pytest

from securerelay.client import Sent
from securerelay.client.sealing import lineage
from securerelay.client.sealing.trust import Trust
from securerelay.client.sealing.vault import Contact
from securerelay.errors import ProfileError
from securerelay.identity import keyfile, switching
from securerelay.identity.nextkey import NextKey
from securerelay.protocol import sealed
from securerelay.sealing import bundle, succession
from tests.client.relay import date
from tests.client.sealing.village import Person, Village
from tests.keys import rsa_key

HOUR = 3600.0
FOLLOWED = "bob's key changed, signed by the old one"


def rotate(one: Person) -> None:
    """Have somebody's program end, and the profile get new keys; it is not started again."""
    one.village.run(60)  # who writes in a name is asked once a minute
    relay, profile, now = one.village.relay, one.profile, one.village.relay.now()
    index = 30 + len(lineage.former(profile))
    one.stop()
    one.listening = None
    key, old = profile.key(), lineage.identity(profile)

    def succeed(spki: bytes, seed: bytes) -> bytes:
        new = lineage.of(profile, spki, seed)
        return succession.build(key, old, new.fp, int(now * 1000))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "generate_key", lambda bits: rsa_key(index=index))
        following = NextKey.prepare(profile, succeed)
    der = relay.authority.issue_peer(one.name, following.spki, date(now)).der
    one.profile = following.adopt(der, now=date(now))
    one.client = one.new_client()


def contact(one: Person, name: str) -> Contact:
    found = one.on_disk(lambda state: one.sealing.vault.contact(state, name))
    assert isinstance(found, Contact)
    return found


def newest(village: Village, name: str) -> bundle.Bundle:
    return bundle.read(village.relay.bundles[name][-1], name, village.relay.authority.spki)


@pytest.mark.parametrize("verified", [False, True])
def test_a_contact_follows_when_it_hears_of_them_and_is_told_once(
    village: Village, verified: bool
) -> None:
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "1")
    bob.say("alice", "2")
    old = contact(alice, "bob").pin
    if verified:
        with Trust(alice.profile) as trust:
            trust.verify(old.identity)
    rotate(bob)
    bob.start()
    assert isinstance(bob.say("alice", "3"), Sent)
    assert isinstance(alice.say("bob", "4"), Sent)
    assert (alice.texts, bob.texts) == (["2", "3"], ["1", "4"])
    pin = contact(alice, "bob").pin
    assert pin.identity == bob.sealing.own.identity != old.identity
    assert pin.level.value == ("changed" if verified else "seen")
    assert (alice.notices, bob.notices) == ([FOLLOWED], [])


def test_who_has_not_heard_of_them_seals_for_the_old_ones_and_is_read(village: Village) -> None:
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "1")
    rotate(bob)
    alice.say("bob", "2")
    bob.start()
    alice.say("bob", "3")
    assert bob.texts == ["1", "2", "3"]
    assert contact(alice, "bob").pin.identity != bob.sealing.own.identity
    village.pass_(HOUR + 60)
    alice.say("bob", "4")
    assert bob.texts == ["1", "2", "3", "4"]
    assert alice.notices == [FOLLOWED]
    assert bob.notices == []


def test_what_was_sealed_two_keys_ago_is_read(village: Village) -> None:
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "1")
    rotate(bob)
    alice.say("bob", "2")
    bob.start(listen=False)
    rotate(bob)
    alice.say("bob", "3")
    bob.start()
    assert bob.texts == ["1", "2", "3"]
    assert bob.notices == []


def test_streams_go_on_so_that_nothing_seems_to_be_missing(village: Village) -> None:
    alice, bob = village.settle("alice", "bob")
    for text in "123":
        bob.say("alice", text)
    rotate(bob)
    bob.start()
    for text in "45":
        bob.say("alice", text)
    assert alice.texts == ["1", "2", "3", "4", "5"]
    assert alice.notices == [FOLLOWED]


def test_a_message_that_waited_for_its_verdict_goes_out_under_the_new_key(
    village: Village,
) -> None:
    alice, bob = village.settle("alice", "bob")
    bob.say("alice", "1")
    bob.network.cut()
    bob.network.factory = None
    bob.client.send("alice", b"2", content_type="text/plain").addErrback(lambda _: None)
    village.run(1)
    bob.kill()
    bob.network.factory = None
    rotate(bob)
    bob.network.factory = village.relay.factory()
    bob.start()
    village.run(10)
    assert alice.texts == ["1", "2"]
    assert alice.notices == [FOLLOWED]


def test_bundles_tell_four_successions_and_who_missed_more_is_blocked(village: Village) -> None:
    alice, bob, carol = village.settle("alice", "bob", "carol")
    alice.say("bob", "1")
    for count in range(1, 6):
        if count == 2:
            carol.say("bob", "1")
        rotate(bob)
        bob.start()
        bob.stop()
        assert len(newest(village, "bob").successions) == min(count, succession.MOST)
    bob.start()
    village.pass_(HOUR + 60)
    assert "key changed" in str(alice.say("bob", "2"))
    assert isinstance(carol.say("bob", "2"), Sent)
    assert contact(alice, "bob").pin.blocked == bob.sealing.own.identity
    assert len(lineage.keys(bob.profile)) == 6


def test_every_new_message_names_the_new_key(village: Village) -> None:
    alice, bob = village.settle("alice", "bob")
    bob.say("alice", "1")
    rotate(bob)
    bob.start()
    bob.say("alice", "2")
    ids = [sealed.read_header(post.body).sender_id for post in village.relay.carried]
    assert ids[0] != ids[-1] == bob.sealing.own.identity.sender_id
    assert alice.texts == ["1", "2"]


def test_a_program_with_the_old_key_does_not_come_back(village: Village) -> None:
    (bob,) = village.settle("bob")
    old = bob.client
    profile = bob.profile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "generate_key", lambda bits: rsa_key(index=30))
        following = NextKey.prepare(profile, lambda spki, seed: b"")
    der = village.relay.authority.issue_peer("bob", following.spki, date(village.relay.now())).der
    following.adopt(der, now=date(village.relay.now()))
    bob.network.cut()
    village.run(40)
    with pytest.raises(ProfileError, match="start this program again"):
        old._link.check()


def test_a_list_of_former_keys_that_is_damaged_is_told(village: Village) -> None:
    bob = village.person("bob")
    path: pathlib.Path = bob.profile.path / switching.SUCCESSIONS
    path.write_bytes(b"\x01\x00\x00\x00\x01x")
    path.chmod(0o600)
    with pytest.raises(ProfileError, match="damaged"):
        lineage.former(bob.profile)
