"""Control methods: what they answer, and what must hold before they do."""

from __future__ import annotations

import json

import pytest

from securerelay.errors import RemoteError
from securerelay.identity.invitation import Invitation
from securerelay.protocol import lines, messages
from securerelay.relay import methods
from securerelay.relay.config import Config, PeerLimits, Policy
from securerelay.store.interface import StorageFull
from tests.relay.world import Guest, Slow, World, done

DAY = 86_400


def names(answer: tuple[str, dict[str, list[dict[str, object]]]]) -> list[object]:
    status, body = answer
    assert status == "ok"
    return [peer["peer"] for peer in body["peers"]]


@pytest.fixture
def world() -> World:
    made = World()
    for name in ("bob", "carol"):
        made.enrol(name)
    return made


def test_peers_are_listed_with_whether_they_are_here(world: World) -> None:
    alice = world.join("alice")
    status, body = alice.call("peer.list")
    assert status == "ok"
    assert [(peer["peer"], peer["online"]) for peer in body["peers"]] == [
        ("alice", True),
        ("bob", False),
        ("carol", False),
    ]
    assert body["more"] is False


def test_peers_can_be_listed_in_parts_and_those_who_are_here_alone(world: World) -> None:
    alice = world.join("alice")
    _status, body = alice.call("peer.list", limit=2)
    assert (len(body["peers"]), body["more"]) == (2, True)
    assert names(alice.call("peer.list", after="bob")) == ["carol"]
    assert names(alice.call("peer.list", online=True)) == ["alice"]


def test_only_who_may_be_seen_is_listed() -> None:
    world = World(Config(policy=Policy(see={"alice": frozenset({"bob"})})))
    for name in ("bob", "carol"):
        world.enrol(name)
    assert names(world.join("alice").call("peer.list")) == ["alice", "bob"]


def test_revoked_peers_are_not_listed(world: World) -> None:
    done(world.store.revoke("bob", world.context.now()))
    assert names(world.join("alice").call("peer.list")) == ["alice", "carol"]


def test_an_unknown_method_is_told_so(world: World) -> None:
    assert world.join("alice").call("peer.hug")[0] == "unknown-method"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"1",
        b'"peer"',
        b"\xff",
        b'{"limit": NaN}',
        b'{"limit": "1"}',
        b'{"limit": true}',
        b'{"limit": 0}',
        b'{"limit": 5001}',
        b'{"after": 1}',
        b'{"limits": 1}',
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b"[" * 60_000,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"after": "\xed\xa0\x80"}',  # half a surrogate, which UTF-8 does not have
    ],
    ids=lambda body: body[:20],
)
def test_parameters_of_a_wrong_form_are_refused_and_the_session_goes_on(
    world: World, body: bytes
) -> None:
    alice = world.join("alice")
    alice.say(messages.call(b"7", b"peer.list", body))
    ((tag, status, _),) = alice.of("reply")
    assert (tag, status) == (b"7", b"bad-request")
    assert alice.end == ""


def test_parameters_may_be_as_deep_as_announced_and_no_deeper() -> None:
    deep = b'{"a":' + b"[" * 15 + b"]" * 15 + b"}"
    assert methods.parameters(deep)
    with pytest.raises(Exception, match="levels deep"):
        methods.parameters(b'{"a":' + b"[" * 16 + b"]" * 16 + b"}")


def test_parameters_may_be_as_many_as_announced_and_no_more() -> None:
    assert len(methods.parameters(b'{"a":[%b]}' % b",".join([b"1"] * 2048))["a"]) == 2048
    with pytest.raises(RemoteError, match="2048 values"):
        methods.parameters(b'{"a":[%b]}' % b",".join([b"1"] * 2049))


def test_too_many_parameters_are_refused_before_they_are_parsed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = world.join("alice")
    monkeypatch.setattr(methods, "json", None)
    alice.say(messages.call(b"7", b"peer.list", b'{"a":[%b]}' % b",".join([b"{}"] * 5000)))
    assert alice.of("reply")[0][1] == b"too-large"


def test_parameters_above_64_kib_are_refused(world: World) -> None:
    alice = world.join("alice")
    alice.say(messages.call(b"7", b"peer.list", json.dumps({"after": "x" * 65_536}).encode()))
    assert alice.of("reply")[0][1] == b"too-large"


def test_who_calls_too_often_is_told_so() -> None:
    world = World(Config(peer=PeerLimits(calls_per_second=2)))
    alice = world.join("alice")
    assert [alice.call("relay.status")[0] for _ in range(3)] == ["ok", "ok", "rate"]
    world.run(1)
    assert alice.call("relay.status")[0] == "ok"


def test_too_many_unanswered_calls_are_refused() -> None:
    store = Slow()
    world = World(Config(peer=PeerLimits(calls_per_second=1000)), store)
    alice = world.join("alice")
    store.slow = {"peers"}
    for _ in range(65):
        alice.mumble(messages.call(b"1", b"peer.list", b""))
    world.run()
    assert [status for _, status, _ in alice.of("reply")] == [b"busy"]


def test_a_store_that_does_not_answer_makes_calls_busy() -> None:
    store = Slow()
    world = World(store=store)
    alice = world.join("alice")
    store.slow = {"peers"}
    alice.say(messages.call(b"1", b"peer.list", b""))
    store.answer(StorageFull("/secret/path is full"))
    world.run()
    ((_, status, body),) = alice.of("reply")
    assert status == b"busy"
    assert b"secret" not in body


def test_an_answer_that_comes_after_the_session_ended_goes_nowhere() -> None:
    store = Slow()
    world = World(store=store)
    alice = world.join("alice")
    store.slow = {"peers"}
    alice.say(messages.call(b"1", b"peer.list", b""))
    alice.drop()
    store.answer()
    world.run()
    assert alice.of("reply") == []


def test_status_tells_a_peer_how_it_stands(world: World) -> None:
    alice = world.join("alice")
    world.join("alice")
    bob = world.join("bob")
    bob.open()
    bob.send(1, b"alice", b"12345")
    status, body = alice.call("relay.status")
    assert (status, body["sessions"]) == ("ok", 2)
    assert body["mailbox"] == {"messages": 1, "bytes": 5}
    assert body["require_sealed"] is False


def renewed(guest: Guest) -> bytes:
    status, body = guest.call("cert.renew")
    assert status == "ok"
    return lines.decode(body["certificate"])


def test_a_certificate_is_renewed_from_two_thirds_of_its_life_on(world: World) -> None:
    first = world.enrol("alice")
    world.clock.advance(19 * DAY)
    assert renewed(world.join("alice")) == first.der
    world.clock.advance(2 * DAY)
    alice = world.join("alice")
    second = renewed(alice)
    assert second != first.der
    assert done(world.store.lookup("alice")).certificate.der == second
    assert done(world.store.lookup("alice")).certificate.spki == first.spki
    assert renewed(alice) == second


def test_a_resumed_session_cannot_renew_or_invite() -> None:
    world = World(Config(policy=Policy(invite=frozenset({"*"}))))
    alice = world.join("alice")
    ticket = alice.welcomes[0].tickets[0]
    alice.drop()
    alice = world.join("alice", ticket=ticket)
    assert alice.welcomes[0].resumed
    assert alice.call("cert.renew")[0] == "not-permitted"
    assert alice.call("invite.create", name="dora")[0] == "not-permitted"
    assert alice.call("peer.list")[0] == "ok"


def test_nobody_may_invite_unless_he_is_allowed_to(world: World) -> None:
    assert world.join("alice").call("invite.create", name="dora")[0] == "not-permitted"


@pytest.mark.parametrize("by", ["policy", "role"])
def test_a_peer_that_may_invite_gets_an_invitation_that_works(by: str) -> None:
    policy = Policy(invite=frozenset({"alice"} if by == "policy" else ()))
    world = World(Config(policy=policy))
    world.enrol("alice", roles=("invite",) if by == "role" else ())
    status, body = world.join("alice").call("invite.create", name="dora", expires=60)
    assert status == "ok"
    invitation = Invitation.parse(body["invitation"])
    assert (invitation.name, invitation.host) == ("dora", "relay.example")
    row = done(world.store.invitation(invitation.token))
    assert (row.created_by, row.public_key) == ("alice", invitation.public_key)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"name": "Dora"}, "bad-request"),
        ({"name": "root"}, "bad-request"),
        ({}, "bad-request"),
        ({"name": "dora", "expires": 59}, "bad-request"),
        ({"name": "b0b"}, "name-taken"),
    ],
)
def test_an_invitation_nobody_could_use_is_refused(
    parameters: dict[str, object], code: str
) -> None:
    world = World(Config(policy=Policy(invite=frozenset({"*"}))))
    world.enrol("bob")
    assert world.join("alice").call("invite.create", **parameters)[0] == code
