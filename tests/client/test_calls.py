"""What comes of calls and events when the relay's JSON is none, and when too much is open."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.client.calls import MAX_OPEN, Calls, Event, Events, read_json
from securerelay.errors import ConnectError, Refused, RemoteError
from tests.network import outcome


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_a_breach(body):
    with pytest.raises(RemoteError) as caught:
        read_json(body)
    assert caught.value.code == "protocol"


def test_an_empty_body_is_an_empty_object():
    assert read_json(b"") == {}


def test_each_answer_reaches_its_own_call():
    calls = Calls()
    first, second = calls.add("a.b", {}), calls.add("c.d", {"x": 1})
    assert calls.take() == [b"CALL 1 a.b 2\n{}", b'CALL 2 c.d 7\n{"x":1}']
    assert calls.take() == []
    calls.reply(b"2", b"ok", b'{"y":2}')
    calls.reply(b"1", b"not-permitted", b'{"message":"no"}')
    calls.reply(b"9", b"ok", b"")
    assert outcome(second) == {"y": 2}
    refused = outcome(first)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.detail) == ("not-permitted", "no")


@pytest.mark.parametrize("status", [b"ok", b"busy"])
def test_a_call_whose_answer_is_no_json_ends_with_its_session(status):
    calls = Calls()
    waiting = calls.add("a.b", {})
    with pytest.raises(RemoteError):
        calls.reply(b"1", status, b"[]")
    calls.fail(ConnectError("protocol"))
    assert isinstance(outcome(waiting), ConnectError)


def test_an_answer_nobody_waits_for_any_more_is_dropped():
    calls = Calls()
    waiting = calls.add("a.b", {})
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    calls.reply(b"1", b"ok", b"{}")


def test_only_so_many_calls_are_open_at_a_time():
    calls = Calls()
    opened = [calls.add("a.b", {}) for _ in range(MAX_OPEN)]
    with pytest.raises(Refused):
        calls.add("a.b", {})
    calls.fail(ConnectError("gone"))
    assert all(isinstance(outcome(waiting), ConnectError) for waiting in opened)


def test_events_come_in_order_to_those_who_read_them_and_end_with_the_client():
    closed: list[Events] = []
    events = Events(frozenset({"a"}), closed.append)

    async def read() -> list[int]:
        return [(await anext_of(events)).data["n"] for _ in range(2)]

    reading = Deferred.fromCoroutine(read())
    events.put(Event("a", {"n": 1}))
    events.put(Event("b", {"n": 0}))
    events.put(Event("a", {"n": 2}))
    assert outcome(reading) == [1, 2]
    waiting = events.next()
    events.fail(ConnectError("closed"))
    assert isinstance(outcome(waiting), ConnectError)
    assert isinstance(outcome(events.next()), ConnectError)
    events.close()
    assert closed == [events]


async def anext_of(events: Events) -> Event:
    return await events.__anext__()
