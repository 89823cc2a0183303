"""Contacts whose name has ended: known from the key log, whatever the relay says afterwards."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from securerelay.client.sealing import ended
from securerelay.client.sealing.trust import Trust
from securerelay.client.sealing.vault import Contact
from securerelay.crypto.primitives import ed25519_public
from securerelay.errors import LocalError, Refused
from securerelay.protocol.lines import encode
from securerelay.sealing import bundle, succession
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.prekeys import Prekey
from tests.client.sealing.town import Answer, Member, Town
from tests.keys import authority, rsa_key, spki
from tests.relay.world import done

THIEF = 60


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(town: Town) -> tuple[Member, Member]:
    """Alice, who knows Bob, and has looked at the log; and Bob."""
    alice, bob = town.settle("alice", "bob")
    alice.say("bob", "hello")
    town.after(alice.log.look())
    return alice, bob


def end(town: Town, name: str, *, closed: bool = False) -> None:
    town.after(Deferred.fromCoroutine(town.world.router.revoke(name, closed=closed)))


def contact(one: Member, name: str) -> Contact:
    found = one.town.after(one.journal.do(lambda state: one.vault.contact(state, name)))
    assert isinstance(found, Contact)
    return found


def stolen(town: Town, bob: Member) -> Answer:
    """What a thief of Bob's identity key makes: a bundle of his own that it says follows Bob.

    He had the certificate from the relay, so it is in the log.
    """
    seed, now = bytes(range(32)), int(town.now() * 1000)
    thief = Identity(authority().relay_id, "bob", spki(index=THIEF), ed25519_public(seed))
    old = bob.own.identity
    row = town.world.issue("bob", thief.spki)
    done(town.world.store.issue(row))
    town.world.context.keylog.changed()
    town.run()
    leaves = town.after(bob.call("log.leaves", {"from": 0}))["leaves"]
    raw = bundle.build(
        *(rsa_key(index=THIEF), thief, row.der),
        number=now + 1,
        issued=now,
        prekey=Prekey.generate().public,
        successions=(succession.build(bob.own._profile.key(), old, thief.fp, now),),
    )
    last = len(leaves) - 1
    return {"bundle": encode(raw), "index": last, "leaf": leaves[last], "proof": None}


def lie(town: Town, keys: Answer | None = None) -> None:
    """Have the relay say that Bob is what he was, with keys of the thief's if there are some."""

    def answer(who: Member, asked: Answer, said: Answer) -> Answer | None:
        entry = said.get("bundles", {}).get("bob")
        if entry is None:
            return None
        entry = {**entry, "state": "active", **(keys or {})}
        return {"bundles": {**said["bundles"], "bob": entry}}

    town.lies["key.fetch"] = answer


def want(alice: Member) -> None:
    alice.town.after(alice.contacts.renew("bob"))


class TestAThiefWhoSignsASuccession:
    def test_is_followed_before_the_key_is_revoked(
        self, town: Town, pair: tuple[Member, Member]
    ) -> None:
        alice, bob = pair
        lie(town, stolen(town, bob))
        want(alice)
        assert contact(alice, "bob").pin.identity.spki == spki(index=THIEF)

    @pytest.mark.parametrize("again", [False, True])
    def test_is_refused_once_the_log_says_so_also_after_a_restart(
        self, town: Town, pair: tuple[Member, Member], again: bool
    ) -> None:
        alice, bob = pair
        before, keys = contact(alice, "bob").pin.fp, stolen(town, bob)
        end(town, "bob")
        town.after(alice.log.look())
        if again:
            alice.contacts._pins.clear()
            alice.contacts._peers.clear()
        lie(town, keys)
        with pytest.raises(Refused, match=r"^peer-revoked: bob was revoked"):
            want(alice)
        pin = contact(alice, "bob").pin
        assert pin.fp == before
        assert pin.blocked is not None
        assert pin.blocked.spki == spki(index=THIEF)
        assert "bob's key changed" in alice.words


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_sealed_for_a_name_that_ended_though_the_relay_denies_it(
    town: Town, pair: tuple[Member, Member], closed: bool
) -> None:
    alice, _ = pair
    assert alice.contacts.find("bob") is not None
    end(town, "bob", closed=closed)
    town.after(alice.log.look())
    code = "peer-closed" if closed else "peer-revoked"
    assert alice.words == [ended.words("bob", code)]
    assert alice.contacts.find("bob") is None
    lie(town)
    sealed = len(alice.bodies)
    with pytest.raises(Refused, match=f"^{code}"):
        alice.say("bob", "secret")
    assert len(alice.bodies) == sealed


def test_what_is_known_is_told_once_and_kept_with_the_profile(
    town: Town, pair: tuple[Member, Member], tmp_path: pathlib.Path
) -> None:
    alice, _ = pair
    end(town, "bob")
    town.after(alice.log.look())
    town.after(alice.log.look())
    assert len(alice.words) == 1
    with Trust(alice.own._profile) as trust:
        assert trust.ended() == {"bob": "peer-revoked"}
        with pytest.raises(LocalError, match="bob was revoked"):
            trust.verify(trust.contact("bob").pin.identity)
        with pytest.raises(LocalError, match="bob was revoked"):
            trust.accept_new_key("bob")


def test_only_contacts_are_noted(town: Town, pair: tuple[Member, Member]) -> None:
    alice, _ = pair
    town.settle("carol")
    end(town, "carol")
    town.after(alice.log.look())
    assert town.after(alice.journal.do(ended.all_of)) == {}
    assert alice.words == []


def test_a_message_that_waits_for_such_a_name_is_given_up() -> None:
    from securerelay.client.sealing.sealer import FINAL

    assert ended.CODES <= FINAL
