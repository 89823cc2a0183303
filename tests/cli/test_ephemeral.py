"""Private talks: a whole channel between two ends that share nothing but a relay's messages."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.channel import tunnel
from securerelay.cli.ephemeral import MAGIC, talk_in_private
from securerelay.cli.exits import Failure
from securerelay.errors import ConnectError, Refused, SecureRelayError
from securerelay.identity.authority import Authority
from tests.cli.people import Lines, Office, Peer, Record
from tests.keys import rsa_key
from tests.network import outcome


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Throw-away keys are shared by the tests; making them takes long."""
    now = datetime.datetime.now(datetime.timezone.utc)
    monkeypatch.setattr(tunnel, "new_authority", lambda: Authority.from_key(rsa_key(index=50), now))
    monkeypatch.setattr(tunnel, "new_key", lambda: rsa_key(index=51))


class End:
    """One end of a private talk."""

    def __init__(self, office: Office, name: str, other: str) -> None:
        self.office = office
        self.peer = Peer(office, name)
        self.other = other
        self.source = Lines()
        self.out = Record()
        self.done: Deferred[Any] = Deferred()

    def start(self) -> None:
        self.done = Deferred.fromCoroutine(
            talk_in_private(self.office.clock, self.peer, self.other, self.source, self.out)  # type: ignore[arg-type]
        )
        self.office.works.append(self.done)
        self.office.run()

    def type(self, line: bytes | None) -> None:
        self.source.type(line)
        self.office.clock.advance(0)
        self.office.run()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.close()


@pytest.fixture
def alice(office: Office) -> End:
    return End(office, "alice", "bob")


@pytest.fixture
def bob(office: Office) -> End:
    return End(office, "bob", "alice")


def fingerprint(end: End) -> str:
    value: str = end.out.said[0]["fingerprint"]
    return value


@pytest.mark.parametrize("alice_first", [True, False])
def test_whoever_comes_first_both_see_the_same_fingerprint_and_talk(
    alice: End, bob: End, alice_first: bool
):
    ends = (alice, bob) if alice_first else (bob, alice)
    ends[0].start()
    assert "waiting" in ends[0].out.notes[0]
    ends[1].start()
    assert fingerprint(alice) == fingerprint(bob)
    assert len(fingerprint(alice).replace("-", "")) == 32
    alice.type(b"hello \x1b[2J")
    bob.type("grüß dich".encode())
    assert bob.out.lines[-1] == "alice: hello \\x1b[2J"
    assert alice.out.said[-1] == {"from": "bob", "private": True, "text": "grüß dich"}


@pytest.mark.parametrize("last_line", [b"exit", b" exit ", None])
def test_when_one_end_leaves_both_ends_are_done(alice: End, bob: End, last_line: bytes | None):
    alice.start()
    bob.start()
    alice.type(b"bye")
    alice.type(last_line)
    assert alice.done.called
    assert bob.done.called
    assert outcome(alice.done) is None
    assert outcome(bob.done) is None
    assert bob.out.lines[-1] == "alice: bye"
    assert "forgotten" in alice.out.notes[-1]
    assert "forgotten" in bob.out.notes[-1]


def test_the_relay_sees_neither_the_words_nor_the_same_keys_twice(office: Office):
    prints = set()
    for _ in range(2):
        alice, bob = End(office, "alice", "bob"), End(office, "bob", "alice")
        alice.start()
        bob.start()
        alice.type(b"the secret word")
        prints.add(fingerprint(alice))
        alice.type(None)
        carried = b"".join(body for end in (alice, bob) for _, body in end.peer.sent)
        assert b"secret" not in carried
        assert all(body.startswith(MAGIC) for _, body in alice.peer.sent)
    assert len(prints) == 2


def test_whoever_sits_in_between_holds_two_talks_with_two_fingerprints(alice: End, bob: End):
    """A relay in between poses as Bob to Alice and as Alice to Bob: the two see different ones."""
    alice.start()
    bob.start()
    middle = Office()
    other = End(middle, "bob", "alice")
    End(middle, "alice", "bob").start()
    other.start()
    assert fingerprint(alice) != fingerprint(other)
    middle.close()


def test_others_are_shown_as_outside_of_the_talk(office: Office, alice: End, bob: End):
    alice.start()
    bob.start()
    alice.peer.get("carol", b"psst")
    alice.peer.get("bob", b"in the open")
    assert alice.out.lines[-2:] == [
        "carol, outside this talk: psst",
        "bob, outside this talk: in the open",
    ]


def test_frames_that_others_make_up_change_nothing(office: Office, alice: End, bob: End):
    alice.start()
    bob.start()
    alice.peer.get("carol", MAGIC + b"hello 00\n")
    alice.peer.get("bob", MAGIC + b"data wrong.tag\nxxxx")
    alice.peer.get("bob", MAGIC + b"nonsense\n")
    alice.type(b"still here")
    assert bob.out.lines[-1] == "alice: still here"


def test_an_end_that_went_without_a_word_is_noticed(office: Office, alice: End, bob: End):
    alice.start()
    bob.start()
    bob.peer.listening = False
    alice.type(b"are you there?")
    assert isinstance(outcome(alice.done), (ConnectError, Refused))


def test_an_end_that_begins_anew_ends_the_old_talk(office: Office, alice: End, bob: End):
    alice.start()
    bob.start()
    again = End(office, "bob", "alice")
    again.start()
    assert isinstance(outcome(alice.done), SecureRelayError)


def test_a_peer_that_does_not_exist_is_told_at_once(office: Office, alice: End):
    alice.start()
    refusal = outcome(alice.done)
    assert isinstance(refusal, Refused)
    assert refusal.code == "unknown"


def test_nobody_talks_in_private_with_themselves(office: Office):
    alone = End(office, "alice", "alice")
    alone.start()
    error = outcome(alone.done)
    assert isinstance(error, Failure)
    assert error.code == "usage"


def test_a_line_without_end_is_cut_off(alice: End, bob: End, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("securerelay.cli.ephemeral.LONGEST", 10)
    alice.start()
    bob.start()
    alice.type(b"x" * 5)
    assert not bob.done.called
    pipe_line = b"y" * 11
    alice.type(pipe_line)  # a whole line is no matter, however long
    assert bob.out.lines[-1].endswith("yyy")


def test_a_mistyped_invitation_from_the_other_end_ends_it(office: Office, alice: End):
    bob = Peer(office, "bob")
    bob.listen()
    alice.start()
    hello = alice.peer.sent[0][1][len(MAGIC) :].split()[1].decode()
    bob.send("alice", MAGIC + b"hello 0011\n", ttl=0)
    office.run()
    bob.send("alice", MAGIC + f"invite 0011.{hello}\nnonsense".encode(), ttl=0)
    office.run()
    assert isinstance(outcome(alice.done), SecureRelayError)
