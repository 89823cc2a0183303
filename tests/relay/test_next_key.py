"""A peer gets another key: asked for by the old one, proved by the new one, and then it alone."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.identity import possession
from securerelay.protocol.lines import decode, encode
from securerelay.relay.config import Config, Policy
from securerelay.store import successors
from tests.keys import rsa_key, spki
from tests.relay.citizens import citizen, fetched, publish
from tests.relay.world import Guest, Slow, World, credential, done

DAY = 86_400.0


@pytest.fixture
def world() -> World:
    return World(Config(policy=Policy(invite=frozenset({"*"}))))


def asked(guest: Guest, index: int, **changes: Any) -> tuple[str, bytes]:
    """Ask for a certificate for the key of an index; returns status and certificate."""
    session_id = changes.pop("session_id", guest.connection.session_id)
    proof = b""
    if "proof" not in changes:
        proof = possession.prove(rsa_key(index=changes.pop("prover", index)), session_id, "alice")
    parameters = {"key": encode(spki(index=index)), "proof": encode(proof), **changes}
    status, answer = guest.call("cert.renew", **parameters)
    return status, decode(answer["certificate"]) if status == "ok" else b""


def present(world: World) -> bytes:
    der: bytes = done(world.store.lookup("alice")).certificate.der
    return der


def test_until_the_next_key_is_used_the_present_one_counts(world: World) -> None:
    alice = world.join("alice", 1)
    before = present(world)
    status, following = asked(alice, 2)
    assert (status, present(world)) == ("ok", before)
    assert not alice.end
    again = world.join("alice", 1)
    assert again.welcomes
    assert asked(again, 2) == ("ok", following)
    assert len(done(world.store.key_log(0, 9))) == 2


def test_who_proves_the_next_key_ends_the_old_one_with_its_sessions_and_tickets(
    world: World,
) -> None:
    alice = world.join("alice", 1)
    before, ticket = present(world), alice.welcomes[0].tickets[0]
    _, following = asked(alice, 2)
    assert world.connect(credential(following, 2)).welcomes
    assert present(world) == following
    assert (alice.end, alice.ends[0].by_peer) == ("revoked", True)
    assert world.connect(credential(before, 1)).end == "revoked"
    assert world.connect(credential(before, 1), ticket).end == "revoked"
    assert world.connect(credential(following, 2)).welcomes
    assert world.told.names().count("key.replaced") == 1


def test_a_certificate_shown_with_the_wrong_key_changes_nothing(world: World) -> None:
    alice = world.join("alice", 1)
    before = present(world)
    _, following = asked(alice, 2)
    assert world.connect(credential(following, 1)).end == "auth-failed"
    assert present(world) == before
    assert not alice.end


@pytest.mark.parametrize("wrong", ["another key", "another session", "no key", "weak", "cut"])
def test_a_key_without_a_proof_for_this_session_gets_no_certificate(
    world: World, wrong: str
) -> None:
    alice, other = world.join("alice", 1), world.join("alice", 1)
    session_id = alice.connection.session_id
    assert session_id is not None
    proof = possession.prove(rsa_key(index=2), session_id, "alice")
    weak = rsa_key(bits=1024)
    changes: dict[str, dict[str, Any]] = {
        "another key": {"prover": 1},
        "another session": {"session_id": other.connection.session_id},
        "no key": {"key": encode(b"key")},
        "weak": {
            "key": encode(spki(1024)),
            "proof": encode(possession.prove(weak, session_id, "alice")),
        },
        "cut": {"proof": encode(proof[:-1])},
    }
    assert asked(alice, 2, **changes[wrong])[0] == "unproven"
    assert len(done(world.store.issued("alice"))) == 1


def test_a_proof_of_one_name_is_none_for_another(world: World) -> None:
    alice = world.join("alice", 1)
    session_id = alice.connection.session_id
    assert session_id is not None
    proof = possession.prove(rsa_key(index=2), session_id, "bob")
    assert asked(alice, 2, proof=encode(proof))[0] == "unproven"


def test_a_request_that_is_repeated_in_another_session_is_refused(world: World) -> None:
    alice, thief = world.join("alice", 1), world.join("alice", 1)
    session_id = alice.connection.session_id
    assert asked(alice, 2)[0] == "ok"
    assert asked(thief, 2, session_id=session_id)[0] == "unproven"


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"key": ""}, "bad-request"),
        ({"proof": ""}, "bad-request"),
        ({"key": 5, "proof": ""}, "bad-request"),
        ({"key": "A" * 4096, "proof": ""}, "too-large"),
        ({"key": "AAAA", "proof": "A" * 4096}, "too-large"),
        ({"keys": ""}, "bad-request"),
    ],
)
def test_half_a_request_is_none(world: World, parameters: dict[str, Any], status: str) -> None:
    assert world.join("alice", 1).call("cert.renew", **parameters)[0] == status


def test_a_session_by_ticket_gets_no_new_key(world: World) -> None:
    alice = world.join("alice", 1)
    ticket = alice.welcomes[0].tickets[0]
    alice.drop()
    alice = world.join("alice", 1, ticket=ticket)
    assert alice.welcomes[0].resumed
    assert asked(alice, 2)[0] == "not-permitted"


def test_a_key_that_was_followed_is_refused_for_ever(world: World) -> None:
    _, following = asked(world.join("alice", 1), 2)
    alice = world.connect(credential(following, 2))
    assert asked(alice, 1)[0] == "key-used"
    assert asked(alice, 2) == ("ok", following)


def test_new_keys_are_few_in_a_day_and_what_is_refused_costs_no_signature(world: World) -> None:
    alice = world.join("alice", 1)
    for key in range(2, 2 + successors.MOST):
        assert asked(alice, key)[0] == "ok"
    world.context.issue = None  # type: ignore[assignment]
    assert asked(alice, 9)[0] == "too-many"
    assert asked(alice, 2)[0] == "ok"


@pytest.mark.parametrize("used", [2, 3])
def test_a_thief_of_the_old_key_who_asked_for_one_of_his_own_has_no_use_of_it(
    world: World, used: int
) -> None:
    alice = world.join("alice", 1)
    following = {2: asked(alice, 2)[1], 3: asked(alice, 3)[1]}
    assert world.connect(credential(following[used], used)).welcomes
    assert world.connect(credential(following[5 - used], 5 - used)).end == "revoked"
    assert present(world) == following[used]


def test_a_name_that_ended_gets_no_other_key(world: World) -> None:
    alice = world.join("alice", 1)
    _, following = asked(alice, 2)
    done(Deferred.fromCoroutine(world.router.revoke("alice")))
    assert world.connect(credential(following, 2)).end == "revoked"


def test_an_expired_certificate_of_the_next_key_changes_nothing(world: World) -> None:
    _, following = asked(world.join("alice", 1), 2)
    before = present(world)
    world.clock.advance(31 * DAY)
    assert world.connect(credential(following, 2)).end == "expired"
    assert present(world) == before


def test_an_old_key_that_is_let_in_while_it_is_followed_stays_out() -> None:
    store = Slow()
    world = World(store=store)
    _, following = asked(world.join("alice", 1), 2)
    before = present(world)
    store.slow, store.stale = {"lookup"}, {"lookup"}
    old = world.connect(credential(before, 1))
    store.slow = set()
    assert world.connect(credential(following, 2)).welcomes
    store.answer()
    world.run()
    assert old.end == "revoked"
    assert len(list(world.router.sessions)) == 1


def test_an_old_key_that_is_renewed_while_it_is_followed_does_not_come_back() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("alice", 1)
    world.clock.advance(21 * DAY)
    alice = world.join("alice", 1)
    _, following = asked(alice, 2)
    store.slow = {"renew"}
    alice.mumble(b"CALL 2 cert.renew 2\n{}")
    world.run()
    assert world.connect(credential(following, 2)).welcomes
    store.answer()
    world.run()
    assert present(world) == following


def test_bundles_follow_the_key(world: World) -> None:
    old, bob = citizen(world, "alice", 1), world.join("bob", 5)
    alice = world.join("alice", 1)
    assert publish(alice, old, number=1) == "ok"
    _, following = asked(alice, 2)
    assert publish(alice, old, number=2) == "ok"
    assert fetched(bob, "alice")["alice"]["index"] == 0
    alice = world.connect(credential(following, 2))
    assert publish(alice, old, number=3) == "old-certificate"
    assert publish(alice, citizen(world, "alice", 2), number=3) == "ok"
    assert fetched(bob, "alice")["alice"]["index"] == 2
