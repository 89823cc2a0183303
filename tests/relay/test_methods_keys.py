"""What peers publish to be sealed with, and who gets it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from securerelay.crypto import merkle
from securerelay.identity import keylog
from securerelay.identity.keylog import Leaf
from securerelay.protocol.items import u64
from securerelay.protocol.lines import decode, encode
from securerelay.relay.config import Config, Policy
from securerelay.relay.methods import keys
from securerelay.sealing import bundle, logview, succession
from securerelay.sealing.bundle import next_number
from tests.keys import rsa_key
from tests.relay.citizens import citizen, fetched, publish, renewed
from tests.relay.world import World, done
from tests.sealing.test_bundle import forged
from tests.sealing.world import MS, mallory


@pytest.fixture
def world() -> World:
    return World()


def test_a_bundle_that_was_published_is_served_as_it_came(world: World) -> None:
    person = citizen(world, "alice", 1)
    raw = person.bundle()
    assert world.join("alice", 1).call("key.publish", bundle=encode(raw)) == ("ok", {})
    entry = fetched(world.join("bob", 2), "alice")["alice"]
    assert decode(entry["bundle"]) == raw
    assert entry["state"] == "active"
    bundle.read(raw, "alice", world.authority.spki)


def test_who_published_nothing_and_who_does_not_exist_are_told_apart(world: World) -> None:
    world.enrol("bob")
    assert fetched(world.join("alice", 1), "alice", "bob", "carol") == {
        "alice": {"state": "active", "bundle": None},
        "bob": {"state": "active", "bundle": None},
        "carol": None,
    }


def test_each_bundle_has_a_higher_number_than_the_last(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    assert publish(alice, person, number=MS) == "ok"
    assert publish(alice, person, number=MS) == "stale"
    assert publish(alice, person, number=MS - 1) == "stale"
    assert bundle.read(served(alice), "alice", world.authority.spki).number == MS
    assert publish(alice, person, number=next_number(MS, 0)) == "ok"
    # The number is kept over a restart of the relay, and over renewal.
    world.crash()
    alice = world.join("alice", 1)
    assert publish(alice, renewed(world, person), number=MS + 1) == "stale"


def served(guest: object) -> bytes:
    return decode(fetched(guest, "alice")["alice"]["bundle"])  # type: ignore[arg-type]


def test_a_peer_publishes_its_own_bundle_alone(world: World) -> None:
    bob = citizen(world, "bob", 2)
    alice = world.join("alice", 1)
    assert publish(alice, bob) == "bundle-bad"
    # Neither with alice's name on it ...
    renamed = replace(bob.identity, name="alice")
    raw = bundle.build(
        rsa_key(index=2), renamed, bob.certificate, number=MS, issued=MS, prekey=bob.prekey.public
    )
    assert alice.call("key.publish", bundle=encode(raw))[0] == "bundle-bad"
    # ... nor with alice's certificate and bob's signature.
    row = done(world.store.lookup("alice"))
    raw = bundle.build(
        rsa_key(index=2),
        renamed,
        row.certificate.der,
        number=MS,
        issued=MS,
        prekey=bob.prekey.public,
    )
    assert alice.call("key.publish", bundle=encode(raw))[0] == "bundle-bad"
    assert fetched(alice, "alice", "bob") == {
        "alice": {"state": "active", "bundle": None},
        "bob": {"state": "active", "bundle": None},
    }


def test_a_bundle_for_another_relay_or_without_a_valid_signature_is_refused(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    other = replace(person.author.identity, relay_id=b"x" * 32)
    raw = bundle.build(
        person.key, other, person.certificate, number=MS, issued=MS, prekey=person.prekey.public
    )
    assert alice.call("key.publish", bundle=encode(raw))[0] == "bundle-bad"
    good = person.bundle()
    broken = good[:-1] + bytes((good[-1] ^ 1,))
    assert alice.call("key.publish", bundle=encode(broken))[0] == "bundle-bad"
    assert alice.call("key.publish", bundle=encode(good))[0] == "ok"


def test_the_certificate_in_a_bundle_is_the_current_one(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    after = renewed(world, person)
    assert publish(alice, person) == "old-certificate"
    # A certificate that the authority would vouch for, but did not issue here, is none either.
    assert publish(alice, replace(mallory(), certificate=person.certificate)) == "bundle-bad"
    assert publish(alice, after) == "ok"


def test_a_number_that_cannot_be_stored_is_refused(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    highest = forged(person, x06=u64(1 << 63))
    assert alice.call("key.publish", bundle=encode(highest))[0] == "bundle-bad"
    assert publish(alice, person, number=(1 << 63) - 1) == "ok"
    assert alice.end == ""


def test_a_bundle_of_the_most_bytes_is_looked_at_and_a_larger_one_is_not(world: World) -> None:
    alice = world.join("alice", 1)
    for size, code in ((keys.MAX_BUNDLE, "bundle-bad"), (keys.MAX_BUNDLE + 1, "too-large")):
        assert alice.call("key.publish", bundle=encode(bytes(size)))[0] == code


def test_a_bundle_with_four_successions_is_small_enough(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    old = [
        succession.build(rsa_key(4096, 70), person.identity, person.fp, MS + step)
        for step in range(4)
    ]
    assert publish(alice, person, successions=old) == "ok"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"bundle": 1},
        {"bundle": ""},
        {"bundle": "AA=="},
        {"bundle": "A"},
        {"bundle": "AB"},
        {"bundle": "AAAA", "number": 1},
    ],
)
def test_parameters_of_another_form_are_refused(world: World, parameters: object) -> None:
    alice = world.join("alice", 1)
    assert alice.call("key.publish", **parameters)[0] == "bad-request"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"peers": []},
        {"peers": "bob"},
        {"peers": [1]},
        {"peers": ["Bob"]},
        {"peers": ["bob"] * 65},
        {"peers": ["bob"], "size": -1},
        {"peers": ["bob"], "size": "1"},
        {"peers": ["bob"], "size": 2},
        {"peers": ["bob"], "online": True},
    ],
)
def test_questions_of_another_form_are_refused(world: World, parameters: object) -> None:
    alice = world.join("alice", 1)
    assert alice.call("key.fetch", **parameters)[0] == "bad-request"  # type: ignore[arg-type]


def test_what_an_ended_peer_published_is_still_served_and_says_so(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    assert publish(alice, person) == "ok"
    bob = world.join("bob", 2)
    before = fetched(bob, "alice")["alice"]
    done(world.store.revoke("alice", world.context.now()))
    assert fetched(bob, "alice")["alice"] == {**before, "state": "revoked"}
    # And no session that outlived the end publishes for it.
    assert publish(alice, person, number=MS + 1) == "revoked"


def test_the_largest_bundles_of_64_peers_and_their_proofs_fit_in_one_answer() -> None:
    leaf = len(encode(bytes(25 + 1 + 8 + 32 + 32 + 32)))
    proof = 40 * (len(encode(bytes(32))) + 3)  # a log of a million million leaves
    entry = len(encode(bytes(keys.MAX_BUNDLE))) + leaf + proof + 150
    assert keys.MOST * entry < Config().limits.message_bytes


def test_64_bundles_come_in_one_call(world: World) -> None:
    person = citizen(world, "alice", 1)
    raw = person.bundle()
    names = [f"peer{number}" for number in range(keys.MOST)]
    for number, name in enumerate(names):
        row = world.enrol(name)
        done(world.store.publish(name, number + 1, raw, row.sha256))
    answer = fetched(world.join("alice", 1), *names, size=len(world.context.keylog))
    assert [decode(answer[name]["bundle"]) for name in names] == [raw] * keys.MOST
    assert len(json.dumps(answer)) < Config().limits.message_bytes


# --- proofs ---


def test_a_bundle_comes_with_the_leaf_of_its_certificate_and_proof_of_it(world: World) -> None:
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    for name in ("bob", "carol"):
        world.enrol(name)
    assert publish(alice, person) == "ok"
    # Another certificate since; the leaf stays the one of that in the bundle.
    renewed(world, person)
    world.run()
    head = keylog.read_head(world.context.keylog.head)
    entry = fetched(alice, "alice", size=head.size)["alice"]
    leaf = Leaf.read(decode(entry["leaf"]))
    read = bundle.read(decode(entry["bundle"]), "alice", world.authority.spki)
    row = done(world.store.issued("alice"))[0]
    assert row.der == read.certificate
    logview.certifies(leaf, "alice", logview_key(read), row.sha256)
    proof = [decode(one) for one in entry["proof"]]
    logview.check_inclusion(head, leaf, entry["index"], proof)
    assert "proof" not in fetched(alice, "alice")["alice"]


def logview_key(read: bundle.Bundle) -> bytes:
    return merkle.sha256(read.identity.spki)


def test_a_leaf_beyond_the_size_asked_for_has_no_proof(world: World) -> None:
    world.enrol("bob")
    person, alice = citizen(world, "alice", 1), world.join("alice", 1)
    assert publish(alice, person) == "ok"
    entry = fetched(alice, "alice", size=1)["alice"]
    assert (entry["index"], entry["proof"]) == (1, None)
    assert fetched(alice, "alice", size=2)["alice"]["proof"] == [
        encode(merkle.leaf_hash(leaf)) for leaf in leaves(world)[:1]
    ]


def leaves(world: World) -> list[bytes]:
    from securerelay.relay.keylog import leaf_of

    return [leaf_of(row) for row in done(world.store.key_log(0, 100))]


# --- who sees whom ---


def secretive(see: dict[str, set[str]], send: dict[str, set[str]]) -> World:
    def frozen(table: dict[str, set[str]]) -> dict[str, frozenset[str]]:
        return {name: frozenset(others) for name, others in table.items()}

    return World(Config(policy=Policy(see=frozen(see), send=frozen(send))))


@pytest.mark.parametrize(
    ("see", "send", "served"),
    [
        ({}, {}, False),
        ({"bob": {"alice"}}, {}, True),
        ({}, {"bob": {"alice"}}, True),
        ({}, {"alice": {"bob"}}, True),
        ({"alice": {"bob"}}, {}, False),
        ({"carol": {"*"}}, {"carol": {"*"}}, False),
    ],
)
def test_keys_are_for_those_who_have_business_with_their_owner(
    see: dict[str, set[str]], send: dict[str, set[str]], served: bool
) -> None:
    world = secretive(see, send)
    person = citizen(world, "alice", 1)
    assert publish(world.join("alice", 1), person) == "ok"
    answer = fetched(world.join("bob", 2), "alice", "bob", "nobody")
    assert (answer["alice"] is not None) == served
    assert answer["nobody"] is None
    assert answer["bob"] is not None


def test_members_of_a_room_get_each_others_keys_whatever_the_policy_hides() -> None:
    world = secretive({"owner": {"*"}}, {"owner": {"*"}})
    person = citizen(world, "alice", 1)
    assert publish(world.join("alice", 1), person) == "ok"
    owner, bob = world.join("owner", 3), world.join("bob", 2)
    assert owner.call("room.create", room="@team")[0] == "ok"
    assert owner.call("room.add", room="@team", peers=["alice"])[0] == "ok"
    assert fetched(bob, "alice") == {"alice": None}
    assert owner.call("room.add", room="@team", peers=["bob"])[0] == "ok"
    assert fetched(bob, "alice")["alice"] is not None
