"""Sending, listening and chatting, between peers that share nothing but memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from securerelay.cli.chat import talk
from securerelay.cli.exits import Failure
from securerelay.cli.first import first
from securerelay.cli.listen import receive
from securerelay.cli.messages import say_message
from securerelay.cli.send import IN_FLIGHT, send_lines, tell
from securerelay.client import Message, Sent
from securerelay.errors import Refused
from tests.cli.people import Lines, Office, Peer, Record
from tests.network import outcome


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.close()


@pytest.fixture
def alice(office: Office) -> Peer:
    return Peer(office, "alice")


@pytest.fixture
def bob(office: Office) -> Peer:
    return Peer(office, "bob")


def start(work: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(work)


# -- send


def test_a_verdict_is_told_in_words_and_in_json():
    out = Record()
    tell(out, "bob", Sent("s", 1))
    tell(out, "bob", Sent("s", 2, 1_700_000_000_000))
    assert out.lines[0] == "accepted by the relay"
    assert out.lines[1].startswith("delivered to bob at 2023-11-1")
    assert out.said == [
        {"to": "bob", "stream": "s", "seq": 1, "state": "accepted", "delivered": None},
        {
            "to": "bob",
            "stream": "s",
            "seq": 2,
            "state": "delivered",
            "delivered": 1_700_000_000_000,
        },
    ]


def lines_of(alice: Peer, source: Lines, out: Record) -> Deferred[Any]:
    return start(send_lines(alice, source, out, "bob", "accepted", 60, None))  # type: ignore[arg-type]


def test_each_line_is_a_message_sent_as_it_comes(office: Office, alice: Peer, bob: Peer):
    source, out = Lines(b"one"), Record()
    done = lines_of(alice, source, out)
    office.run()
    assert alice.sent == [("bob", b"one")]
    source.type(b"two")
    office.run()
    source.type(None)
    assert outcome(done) is None
    assert done.called
    assert [body for _, body in alice.sent] == [b"one", b"two"]
    assert out.lines == ["2 messages accepted"]


def test_with_json_every_line_has_its_own_verdict(office: Office, alice: Peer, bob: Peer):
    out = Record(json=True)
    done = lines_of(alice, Lines(b"one", b"two", None), out)
    office.run()
    assert done.called
    assert [record["seq"] for record in out.said] == [1, 2]


def test_lines_do_not_pile_up_in_memory_when_the_relay_is_slow(alice: Peer, bob: Peer):
    alice.hold = None
    source = Lines(*[b"x"] * (IN_FLIGHT + 10), None)
    lines_of(alice, source, Record())
    assert len(alice.sent) == IN_FLIGHT


def test_the_first_refusal_ends_it_without_waiting_for_more_input(office: Office, alice: Peer):
    done = lines_of(alice, Lines(b"one"), Record())
    assert not done.called
    office.run()
    refusal = outcome(done)
    assert isinstance(refusal, Refused)
    assert refusal.code == "unknown"


def test_a_signal_ends_it_while_it_waits_for_input(alice: Peer, bob: Peer):
    done = lines_of(alice, Lines(), Record())
    done.cancel()
    assert isinstance(outcome(done), CancelledError)


# -- listen


class Taken:
    """What a listener took; a body in ``fails`` makes it fail."""

    def __init__(self, *fails: bytes) -> None:
        self.bodies: list[bytes] = []
        self.fails = fails

    async def __call__(self, message: Message) -> None:
        if message.body in self.fails:
            raise Failure("exec", "no")
        self.bodies.append(message.body)


def receiving(
    bob: Peer, taken: Taken, count: int | None = None, timeout: float | None = None
) -> Deferred[Any]:
    seconds = bob.office.clock.seconds
    return start(receive(bob, taken, seconds, count, timeout))  # type: ignore[arg-type]


def test_listening_ends_after_so_many_messages_which_are_all_acknowledged(bob: Peer):
    taken = Taken()
    done = receiving(bob, taken, count=2)
    for body in (b"one", b"two", b"three"):
        bob.get("alice", body)
    assert done.called
    assert taken.bodies == [b"one", b"two"]
    assert bob.inbox.acked == 2


def test_a_message_that_could_not_be_taken_is_not_acknowledged(bob: Peer):
    taken = Taken(b"two")
    done = receiving(bob, taken)
    for body in (b"one", b"two"):
        bob.get("alice", body)
    assert isinstance(outcome(done), Failure)
    assert bob.inbox.acked == 1


def test_too_few_messages_in_time_is_a_timeout(bob: Peer):
    done = receiving(bob, Taken(), count=2, timeout=10)
    bob.office.clock.advance(6)
    bob.get("alice", b"one")
    assert not done.called
    bob.office.clock.advance(4)
    error = outcome(done)
    assert isinstance(error, Failure)
    assert (error.code, error.message) == ("timeout", "1 of 2 messages came in time")


def test_listening_for_a_time_is_no_failure_whatever_came(bob: Peer):
    done = receiving(bob, Taken(), timeout=10)
    bob.office.clock.advance(10)
    assert done.called
    assert outcome(done) is None


@pytest.mark.parametrize(
    ("body", "text", "base64"), [(b"h\xc3\xa9", "hé", None), (b"\xff\x00", None, "/wA=")]
)
def test_a_body_is_text_in_json_if_it_is_text(
    bob: Peer, body: bytes, text: str | None, base64: str | None
):
    out = Record()

    async def take(message: Message) -> None:
        say_message(out, message, "{from}: {body}")

    start(receive(bob, take, bob.office.clock.seconds, 1, None))  # type: ignore[arg-type]
    bob.get("alice", body)
    assert out.said == [
        {
            "from": "alice",
            "to": "bob",
            "time": 1_700_000_000_000,
            "n": 1,
            "stream": "s" * 22,
            "seq": 1,
            "text": text,
            "base64": base64,
            "sealed": True,
            "level": "seen",
            "content_type": "text/plain",
        }
    ]


# -- chat


def test_a_talk_carries_lines_both_ways_until_exit(office: Office, alice: Peer, bob: Peer):
    source, out = Lines(b"hi"), Record()
    done = start(talk(alice.office.clock, alice, "bob", source, out))  # type: ignore[arg-type]
    office.run()
    alice.get("bob", b"hello\n")
    alice.get("carol", b"me too")
    assert alice.sent == [("bob", b"hi")]
    assert out.lines == ["bob: hello", "carol: me too"]
    source.type(b"exit")
    office.clock.advance(0)
    assert done.called
    assert alice.inbox.acked == 2


def test_the_end_of_the_input_ends_a_talk(alice: Peer, bob: Peer):
    done = start(talk(alice.office.clock, alice, "bob", Lines(None), Record()))  # type: ignore[arg-type]
    alice.office.clock.advance(0)
    assert done.called


def test_a_talk_with_nobody_ends_with_the_relays_word(office: Office, alice: Peer):
    done = start(talk(alice.office.clock, alice, "bob", Lines(b"hi"), Record()))  # type: ignore[arg-type]
    office.run()
    assert isinstance(outcome(done), Refused)


# -- first


def test_the_first_to_end_ends_all():
    waits: list[Deferred[None]] = [Deferred(), Deferred()]
    gone: list[int] = []

    async def wait(which: int) -> None:
        try:
            await waits[which]
        finally:
            gone.append(which)

    clock = Clock()
    done = start(first(clock, wait(0), wait(1)))
    waits[1].callback(None)
    clock.advance(0)
    assert done.called
    assert gone == [1, 0]


def test_the_first_to_fail_fails_for_all():
    waits: list[Deferred[None]] = [Deferred(), Deferred()]

    async def wait(which: int) -> None:
        await waits[which]

    clock = Clock()
    done = start(first(clock, wait(0), wait(1)))
    waits[0].errback(Failure("lost", "x"))
    clock.advance(0)
    assert isinstance(outcome(done), Failure)


def test_one_may_end_in_the_midst_of_another():
    """What a message says may end the talk while the message is still being read."""
    said: Deferred[None] = Deferred()
    heard: Deferred[None] = Deferred()

    async def converse() -> None:
        await said

    async def hear() -> None:
        await heard
        said.callback(None)
        await Deferred()

    clock = Clock()
    done = start(first(clock, converse(), hear()))
    heard.callback(None)
    clock.advance(0)
    assert done.called


def test_a_signal_ends_all():
    async def wait() -> None:
        await Deferred()

    done = start(first(Clock(), wait(), wait()))
    done.cancel()
    assert isinstance(outcome(done), CancelledError)
