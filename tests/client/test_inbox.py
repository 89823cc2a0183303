"""What a receiver sees of messages that come once, twice or after a reconnection, and what is
acknowledged.
"""

from __future__ import annotations

import pytest

from securerelay.client import inbox as module
from securerelay.client.inbox import Inbox, Message
from securerelay.errors import Refused, RemoteError

STREAM = b"s" * 22


def put(inbox: Inbox, n: int, seq: int, body: bytes = b"hello") -> None:
    inbox.received(n, b"alice", b"bob", STREAM, seq, 1000 + n, body)


def take(inbox: Inbox) -> Message | None:
    got: list[Message] = []
    waiting = inbox.next()
    waiting.addCallbacks(got.append, lambda failure: None)
    if not got:
        waiting.cancel()
        return None
    return got[0]


def test_a_message_says_who_sent_it_to_whom_and_when():
    inbox = Inbox()
    put(inbox, 7, 1)
    message = take(inbox)
    assert message is not None
    assert (message.sender, message.to, message.body) == ("alice", "bob", b"hello")
    assert (message.n, message.seq, message.time, message.stream) == (7, 1, 1007, STREAM.decode())


def test_who_waits_gets_the_message_when_it_comes():
    inbox = Inbox()
    waiting = inbox.next()
    assert not waiting.called
    put(inbox, 1, 1)
    assert waiting.called


def test_a_message_that_comes_again_after_a_reconnection_is_shown_once():
    inbox = Inbox()
    put(inbox, 1, 1)
    put(inbox, 1, 1)
    assert take(inbox) is not None
    assert take(inbox) is None


def test_a_message_sent_twice_by_its_sender_is_shown_once_and_both_are_acknowledged():
    inbox = Inbox()
    put(inbox, 1, 1)
    put(inbox, 2, 1)
    message = take(inbox)
    assert message is not None
    assert take(inbox) is None
    assert inbox.acked == 0
    message.ack()
    assert inbox.acked == 2


def test_the_same_number_in_another_stream_is_another_message():
    inbox = Inbox()
    put(inbox, 1, 1)
    inbox.received(2, b"alice", b"bob", b"t" * 22, 1, 0, b"")
    inbox.received(3, b"carol", b"bob", STREAM, 1, 0, b"")
    assert [take(inbox) is not None for _ in range(3)] == [True] * 3


def test_acknowledging_a_later_message_does_not_acknowledge_an_earlier_one():
    acked = []
    inbox = Inbox(lambda: acked.append(inbox.acked))
    for number in (1, 2, 3):
        put(inbox, number, number)
    messages = [take(inbox) for _ in range(3)]
    assert all(message is not None for message in messages)
    messages[1].ack()  # type: ignore[union-attr]
    assert acked == []
    messages[0].ack()  # type: ignore[union-attr]
    messages[0].ack()  # type: ignore[union-attr]
    assert acked == [2]
    messages[2].ack()  # type: ignore[union-attr]
    assert acked == [2, 3]


def test_the_memory_of_what_was_seen_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    inbox = Inbox()
    for number in range(1, 6):
        put(inbox, number, number)
    put(inbox, 6, 5)
    put(inbox, 7, 1)
    assert [take(inbox) is not None for _ in range(7)] == [True] * 6 + [False]


def test_the_connection_is_not_read_while_too_much_waits_for_the_application():
    told = []
    inbox = Inbox(pressure=told.append)
    for number in range(1, 18):
        put(inbox, number, number, bytes(1 << 20))
    assert told == [True]
    for _ in range(10):
        take(inbox)
    assert told == [True, False]


def test_when_another_session_listens_those_who_wait_are_told_and_what_came_can_still_be_read():
    inbox = Inbox()
    put(inbox, 1, 1)
    inbox.fail(Refused("replaced"))
    assert take(inbox) is not None
    failures = []
    inbox.next().addErrback(lambda failure: failures.append(failure.value.code))
    assert failures == ["replaced"]


def test_a_wait_that_was_given_up_does_not_swallow_a_message():
    inbox = Inbox()
    waiting = inbox.next()
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    put(inbox, 1, 1)
    assert take(inbox) is not None


def test_a_seq_that_nobody_can_keep_is_a_breach():
    inbox = Inbox()
    put(inbox, 1, module.BEYOND - 1)
    assert take(inbox) is not None
    with pytest.raises(RemoteError, match="protocol"):
        put(inbox, 2, module.BEYOND)
