"""The key log as clients read it: its head, its leaves, its proofs."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.crypto import merkle, primitives
from securerelay.crypto.contexts import E2E_LOG_HEAD
from securerelay.identity import keylog
from securerelay.identity.keylog import Head, Kind, Leaf
from securerelay.protocol.lines import decode
from securerelay.relay.config import Config, Policy
from securerelay.relay.methods import log
from securerelay.sealing import logview
from securerelay.store.interface import StorageFull
from tests.keys import rsa_key, spki
from tests.relay.citizens import citizen, renewed
from tests.relay.world import RELAY_KEY, Enrolment, Guest, Slow, World, done


@pytest.fixture
def world() -> World:
    return World()


def head_of(world: World, raw: str) -> Head:
    """Read a head as clients do."""
    key = rsa_key(index=RELAY_KEY).public_key()
    return logview.read_head(decode(raw), world.authority.relay_id, key)


def hashes(guest: Guest, **parameters: Any) -> list[bytes]:
    status, answer = guest.call("log.proof", **parameters)
    assert status == "ok", answer
    return [decode(one) for one in answer["hashes"]]


def test_welcome_brings_the_signed_head_of_all_that_was_issued(world: World) -> None:
    world.enrol("bob")
    bob = world.join("bob")
    head = head_of(world, bob.welcomes[0].log["head"])
    assert (head.size, head.time) == (1, world.context.now())
    assert list(bob.welcomes[0].log) == ["head"]
    (row,) = done(world.store.key_log(0, 1))
    leaf = Leaf(Kind.ISSUED, row.time, "bob", row.spki_sha256, row.certificate_sha256)
    assert head.root == leaf.hash()


def test_the_head_of_an_empty_log_is_signed_too(world: World) -> None:
    head = keylog.read_head(world.context.keylog.head)
    assert (head.size, head.root) == (0, merkle.EMPTY_ROOT)


def test_enrolling_renewing_and_revoking_are_leaves_and_change_the_head(world: World) -> None:
    alice = world.join("alice", 1)
    row = done(world.store.lookup("alice")).certificate
    world.clock.advance(25 * 86_400)
    alice = world.join("alice", 1)
    assert alice.call("cert.renew")[0] == "ok"
    assert head_of(world, alice.call("log.head")[1]["head"]).size == 2
    world.invite("carol")
    world.enrol("bob", 2)
    done(Deferred.fromCoroutine(world.router.revoke("bob")))
    done(Deferred.fromCoroutine(world.router.revoke("alice", closed=True)))
    dave = world.join("dave", 4)
    head = head_of(world, dave.call("log.head")[1]["head"])
    status, answer = dave.call("log.leaves")
    assert status == "ok"
    told = [Leaf.read(decode(one)) for one in answer["leaves"]]
    assert [(leaf.kind, leaf.name) for leaf in told] == [
        (Kind.ISSUED, "alice"),
        (Kind.ISSUED, "alice"),
        (Kind.ISSUED, "bob"),
        (Kind.REVOKED, "bob"),
        (Kind.CLOSED, "alice"),
        (Kind.ISSUED, "dave"),
    ]
    assert told[0].spki_sha256 == told[1].spki_sha256 == primitives.sha256(row.spki)
    assert told[0].certificate_sha256 == row.sha256 != told[1].certificate_sha256
    own = [told[5].spki_sha256]
    reading = logview.Reading(merkle.Frontier(), "dave")
    reading.take(decode(one) for one in answer["leaves"])
    reached, mine = reading.end(head, own)
    assert reached.root() == head.root
    assert mine == tuple(told[3:])  # who ended, and what is hers


def test_an_enrolment_is_in_the_log_at_once_for_those_who_connect_next(world: World) -> None:
    invitation = world.invite("bob")
    key = spki(index=2)
    enrolment = Enrolment(
        invitation.token,
        "bob",
        invitation.signing_seed,
        key,
        lambda context, digest: primitives.sign_pss(rsa_key(index=2), context, digest),
    )
    newcomer = world.connect(enrolment)
    assert newcomer.welcomes[0].log == {}
    assert keylog.read_head(world.context.keylog.head).size == 1


def test_proofs_hold_against_the_heads(world: World) -> None:
    alice = world.join("alice", 1)
    first = head_of(world, alice.call("log.head")[1]["head"])
    for name in ("bob", "carol", "dave", "erin"):
        world.enrol(name)
    head = head_of(world, alice.call("log.head")[1]["head"])
    assert (first.size, head.size) == (1, 5)
    proof = hashes(alice, consistency=[1, 5])
    assert logview.agree((first.size, first.root), (head.size, head.root), proof)
    raw = [decode(one) for one in alice.call("log.leaves")[1]["leaves"]]
    for index, leaf in enumerate(raw):
        path = hashes(alice, inclusion=index, size=5)
        logview.check_inclusion(head, Leaf.read(leaf), index, path)
    assert hashes(alice, inclusion=0, size=1) == []
    assert hashes(alice, consistency=[5, 5]) == []


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"inclusion": 0},
        {"size": 1},
        {"inclusion": 1, "size": 1},
        {"inclusion": 0, "size": 2},
        {"inclusion": -1, "size": 1},
        {"inclusion": "0", "size": 1},
        {"inclusion": 0, "size": 1, "consistency": [0, 1]},
        {"consistency": 1},
        {"consistency": [1]},
        {"consistency": [0, 1, 1]},
        {"consistency": [0, "1"]},
        {"consistency": [True, 1]},
        {"consistency": [1, 0]},
        {"consistency": [-1, 1]},
        {"consistency": [1, 2]},
        {"consistency": [1, 1 << 70]},
    ],
)
def test_what_cannot_be_proven_is_refused(world: World, parameters: dict[str, Any]) -> None:
    alice = world.join("alice", 1)
    assert alice.call("log.proof", **parameters)[0] == "bad-request"
    assert alice.end == ""


def test_leaves_come_in_pages(world: World) -> None:
    alice = world.join("alice", 1)
    for name in ("bob", "carol"):
        world.enrol(name)

    def names(**parameters: int) -> list[str]:
        answer = alice.call("log.leaves", **parameters)[1]
        return [Leaf.read(decode(one)).name for one in answer["leaves"]]

    assert names() == ["alice", "bob", "carol"]
    assert names(**{"from": 1}) == ["bob", "carol"]
    assert names(**{"from": 1, "to": 2}) == ["bob"]
    assert names(to=1) == ["alice"]
    assert names(**{"from": 2, "to": 2}) == names(**{"from": 2, "to": 1}) == []
    assert names(**{"from": 9}) == []
    for wrong in ({"from": -1}, {"from": "1"}, {"to": -1}, {"until": 1}):
        assert alice.call("log.leaves", **wrong)[0] == "bad-request"


def test_a_page_has_no_more_leaves_than_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    alice = world.join("alice", 1)
    real = world.store.key_log
    monkeypatch.setattr(
        world.store, "key_log", lambda start, limit: asked.append(limit) or real(start, limit)
    )
    assert alice.call("log.leaves")[0] == "ok"
    assert asked == [log.MOST]
    longest = Leaf(Kind.ISSUED, 1, "n" * 32, bytes(32), bytes(32)).encode()
    assert log.MOST * (len(longest) * 4 // 3 + 4) < Config().limits.message_bytes


def test_leaves_are_hidden_from_whom_the_policy_hides_peers() -> None:
    policy = Policy(see={"*": frozenset({"bob"}), "auditor": frozenset({"*"})})
    world = World(Config(policy=policy))
    alice = world.join("alice", 1)
    assert alice.call("log.leaves")[0] == "not-permitted"
    assert world.join("auditor", 2).call("log.leaves")[0] == "ok"
    # Proofs say no names.
    head = head_of(world, alice.call("log.head")[1]["head"])
    assert hashes(alice, consistency=[1, head.size])


# --- how it is kept ---


def signatures(world: World) -> list[bytes]:
    """Note every signature that the relay makes from now on; each is a digest."""
    made: list[bytes] = []
    real = world.context.sign

    def sign(context: bytes, digest: bytes) -> bytes:
        made.append(context)
        return real(context, digest)

    world.context.sign = sign
    return made


def test_a_head_is_signed_once_for_a_change_and_not_for_connections(world: World) -> None:
    made = signatures(world)
    world.enrol("alice", 1)
    assert made.count(E2E_LOG_HEAD) == 1
    for _ in range(3):
        world.join("alice", 1)
        world.context.keylog.changed()
    assert made.count(E2E_LOG_HEAD) == 1
    assert len(made) == 4


def test_no_leaf_is_read_twice(world: World) -> None:
    asked: list[int] = []
    real = world.store.key_log
    world.store.key_log = lambda start, limit: asked.append(start) or real(start, limit)
    for name in ("alice", "bob"):
        world.enrol(name)
    assert asked == [0, 1, 1, 2]


def test_the_log_is_the_same_after_a_restart(world: World) -> None:
    for name in ("alice", "bob", "carol"):
        world.enrol(name)
    before = keylog.read_head(world.context.keylog.head)
    world.crash()
    after = keylog.read_head(world.context.keylog.head)
    assert (after.size, after.root) == (before.size, before.root)


def test_many_leaves_are_read_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securerelay.relay.keylog.PAGE", 2)
    for name in ("alice", "bob", "carol", "dave", "erin"):
        world.enrol(name)
    assert keylog.read_head(world.context.keylog.head).size == 5


def test_until_there_is_a_head_welcome_has_none_and_a_failure_is_made_good() -> None:
    store = Slow("key_log")
    world = World(store=store)
    alice = world.join("alice", 1)
    assert alice.welcomes[0].log == {}
    assert alice.call("log.head")[0] == "busy"
    while store.waiting:
        store.answer(StorageFull("no room"))
    assert "keylog.failed" in world.told.names()
    store.slow.clear()
    world.context.keylog.changed()
    assert head_of(world, alice.call("log.head")[1]["head"]).size == 1


def test_a_change_while_a_head_is_being_made_is_in_the_next_one() -> None:
    store = Slow("key_log")
    world = World(store=store)
    store.stale = {"key_log"}
    world.enrol("alice", 1)
    while store.waiting:
        store.answer()
    assert keylog.read_head(world.context.keylog.head).size == 1


def test_a_renewed_certificate_is_another_leaf(world: World) -> None:
    person = citizen(world, "alice", 1)
    renewed(world, person)
    assert keylog.read_head(world.context.keylog.head).size == 2
