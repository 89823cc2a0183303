"""What a program sees that sends, listens and calls through a client."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.client import Message, Sent
from securerelay.client.client import Client
from securerelay.errors import (
    BadName,
    ConnectError,
    Refused,
    RemoteError,
    TimedOut,
)
from tests.client.conftest import World
from tests.network import outcome


def test_a_message_is_accepted(connected):
    answer = connected.after(connected.client.send("alice", b"hello"))
    assert isinstance(answer, Sent)
    assert answer.seq == 1
    assert connected.relay.verbs("send") == [(1, b"alice", None, False, b"hello")]


def test_messages_of_one_turn_leave_in_one_write(connected):
    for number in range(50):
        connected.client.send("alice", b"%d" % number)
    connected.run()
    assert len(connected.relay.verbs("send")) == 50
    assert len(connected.relay.verbs("data")) == 1


def test_ttl_and_receipt_reach_the_relay(connected):
    connected.client.send("@room", b"", ttl=0, receipt=True)
    connected.run()
    assert connected.relay.verbs("send") == [(1, b"@room", 0, True, b"")]


def test_waiting_for_delivery_waits_for_the_receipt(connected):
    answer = connected.after(connected.client.send("alice", b"x", wait="delivered"))
    assert isinstance(answer, Sent)
    assert answer.delivered is not None


def test_a_receipt_comes_as_an_event_to_those_who_only_asked_for_it(connected):
    events = connected.client.events("receipt")
    connected.client.send("alice", b"x", receipt=True)
    connected.run()
    event = outcome(events.next())
    assert event.kind == "receipt"
    assert (event.data["peer"], event.data["seq"]) == ("alice", 1)


@pytest.mark.parametrize("code", ["unknown", "offline", "mailbox-full"])
def test_a_refusal_reaches_the_sender_with_the_relays_code(connected, code):
    connected.relay.verdict = lambda seq, to: code.encode()
    refused = connected.after(connected.client.send("alice", b"x"))
    assert isinstance(refused, Refused)
    assert refused.code == code


def test_a_relay_that_is_busy_is_asked_again_until_it_accepts(connected):
    tries = []

    def verdict(seq, to):
        tries.append(seq)
        return b"rate" if len(tries) < 4 else None

    connected.relay.verdict = verdict
    sends = [connected.client.send("alice", b"%d" % n) for n in range(3)]
    connected.run(10)
    assert [isinstance(outcome(send), Sent) for send in sends] == [True] * 3
    bodies = [said[4] for said in connected.relay.verbs("send")]
    assert bodies[-3:] == [b"0", b"1", b"2"]


def test_a_stream_that_is_spent_is_replaced_without_the_sender_noticing(connected):
    connected.relay.verdict = lambda seq, to: (
        b"new-stream" if seq == 2 and len(connected.relay.streams) == 1 else None
    )
    sends = [connected.client.send("alice", b"%d" % n) for n in range(3)]
    connected.run(10)
    answers = [outcome(send) for send in sends]
    assert [answer.seq for answer in answers] == [1, 1, 2]
    assert len(connected.relay.streams) == 2


def test_a_name_that_cannot_exist_is_refused_without_asking_the_relay(connected):
    assert isinstance(outcome(connected.client.send("Not A Name", b"")), BadName)
    assert isinstance(outcome(connected.client.post("@", b"")), BadName)
    connected.run()
    assert connected.relay.verbs("send") == []


def test_a_body_above_the_relays_limit_is_refused_here(world):
    world.relay.limits = {"message": 10}
    world.start()
    refused = outcome(world.client.send("alice", b"x" * 11))
    assert isinstance(refused, Refused)
    assert refused.code == "too-large"
    assert isinstance(world.after(world.client.send("alice", b"x" * 10)), Sent)


def test_without_an_answer_in_time_the_sender_is_told_that_it_may_still_arrive(connected):
    connected.relay.verdict = lambda seq, to: b"hold"
    late = connected.after(connected.client.send("alice", b"x", timeout=5), 6)
    assert isinstance(late, TimedOut)
    assert "may still arrive" in late.message


def test_without_a_connection_in_time_the_message_is_taken_back(world):
    world.network.factory = None
    world.client.startService()
    late = world.after(world.client.send("alice", b"x", timeout=5), 6)
    assert isinstance(late, TimedOut)
    assert "was not sent" in late.message
    world.network.factory = world.relay.factory()
    world.run(60)
    assert world.client.is_connected
    assert world.relay.verbs("send") == []


def test_what_was_sent_while_there_was_no_connection_leaves_when_there_is_one(world):
    sends = [world.client.send("alice", b"%d" % n) for n in range(3)]
    world.start()
    assert [isinstance(outcome(send), Sent) for send in sends] == [True] * 3


def test_posting_reports_refusals_as_events_and_draining_waits_for_all_verdicts(connected):
    connected.relay.verdict = lambda seq, to: b"unknown" if seq == 2 else None
    events = connected.client.events("refused")
    posts = [connected.client.post("alice", b"x") for _ in range(3)]
    assert all(post.called for post in posts)
    draining = connected.client.drain()
    assert not draining.called
    connected.run()
    assert draining.called
    event = outcome(events.next())
    assert event.data == {"to": "alice", "seq": 2, "code": "unknown"}


def test_draining_gives_up_in_time(connected):
    connected.relay.verdict = lambda seq, to: b"hold"
    connected.client.post("alice", b"x")
    late = connected.after(connected.client.drain(timeout=2), 3)
    assert isinstance(late, TimedOut)


def listening(world: World, count: int) -> tuple[list[Message], Deferred[None]]:
    got: list[Message] = []

    async def listen() -> None:
        async for message in world.client.listen():
            got.append(message)
            if len(got) == count:
                await message.ack()
                break

    return got, Deferred.fromCoroutine(listen())


def test_a_listener_gets_what_waited_and_what_comes_and_acknowledges_as_it_asks_on(connected):
    connected.relay.deliver(b"one")
    got, done = listening(connected, 3)
    connected.run()
    connected.relay.deliver(b"two")
    connected.run()
    assert [message.body for message in got] == [b"one", b"two"]
    assert connected.relay.verbs("ack")[-1] == (2,)
    connected.relay.deliver(b"three")
    connected.run()
    assert done.called
    assert connected.relay.verbs("ack")[-1] == (3,)
    assert (got[0].sender, got[0].to, got[0].time) == ("alice", "bob", 1001)


def test_a_message_that_was_not_dealt_with_is_not_acknowledged(connected):
    connected.relay.deliver(b"one")
    waiting = connected.client.listen().next()
    assert isinstance(connected.after(waiting), Message)
    connected.run()
    assert connected.relay.verbs("ack") == []


def test_waiting_for_a_message_ends_in_time_and_the_next_wait_still_gets_it(connected):
    messages = connected.client.listen()
    assert isinstance(connected.after(messages.next(timeout=2), 3), TimedOut)
    waiting = messages.next(timeout=2)
    connected.relay.deliver(b"late")
    assert connected.after(waiting).body == b"late"


def test_another_listener_of_the_same_name_ends_this_one(connected):
    waiting = connected.client.listen().next()
    connected.run()
    from securerelay.protocol import messages

    connected.relay.sessions[-1].connection.send(messages.stopped(b"replaced"))
    refused = connected.after(waiting)
    assert isinstance(refused, Refused)
    assert refused.code == "replaced"
    connected.network.cut()
    connected.run(5)
    assert len(connected.relay.verbs("listen")) == 1, "it does not take the place back by itself"


def call(world: World, method: str = "peer.list", **more: object) -> Deferred[dict]:
    return Deferred.fromCoroutine(world.client.call(method, {"a": 1}, **more))


def test_a_call_is_answered(connected):
    connected.relay.answers[b"peer.list"] = lambda said: {"got": said}
    assert connected.after(call(connected)) == {"got": {"a": 1}}


def test_a_refused_call_says_why(connected):
    refused = connected.after(call(connected, "no.such"))
    assert isinstance(refused, Refused)
    assert refused.code == "unknown-method"


def test_a_call_that_comes_too_fast_is_made_again(connected):
    tries = []

    def answer(said):
        tries.append(said)
        if len(tries) < 3:
            raise RemoteError("rate", "slower")
        return {"tries": len(tries)}

    connected.relay.answers[b"peer.list"] = answer
    assert connected.after(call(connected), 5) == {"tries": 3}


def test_a_call_without_an_answer_ends_in_time(connected):
    connected.relay.silent = True
    assert isinstance(connected.after(call(connected, timeout=3), 4), TimedOut)


def test_a_call_whose_connection_breaks_fails_rather_than_being_made_twice(connected):
    connected.relay.silent = True
    waiting = call(connected)
    connected.run()
    connected.network.cut()
    assert isinstance(connected.after(waiting), ConnectError)


def test_a_call_waits_for_the_connection(world):
    world.relay.answers[b"peer.list"] = lambda said: {}
    waiting = call(world)
    world.start()
    assert world.after(waiting) == {}


def test_presence_is_watched_again_after_a_reconnection(connected):
    connected.relay.answers[b"peer.watch"] = lambda said: {}
    watching = Deferred.fromCoroutine(connected.client.watch())
    events = connected.after(watching)
    from securerelay.protocol import messages

    connected.relay.sessions[-1].connection.send(
        messages.event(b"presence", b'{"peer":"alice","online":true}')
    )
    connected.run()
    assert outcome(events.next()).data == {"peer": "alice", "online": True}
    connected.network.cut()
    connected.run(5)
    assert [said[0] for said in connected.relay.verbs("call")].count(b"peer.watch") == 2
    assert [outcome(events.next()).kind for _ in range(2)] == ["disconnected", "connected"]


@pytest.mark.parametrize("kind", [b"notice", b"read", b"receipt", b"connected", b"new.kind"])
def test_a_relay_does_not_tell_what_this_program_alone_can_know(connected, kind):
    from securerelay.protocol import messages

    events = connected.client.events()
    for said in (kind, b"presence"):
        connected.relay.sessions[-1].connection.send(
            messages.event(said, b'{"words":"bob is verified","peer":"bob"}')
        )
    connected.run()
    assert outcome(events.next()).kind == "presence"


def test_a_slow_reader_of_events_costs_a_bounded_memory(connected):
    from securerelay.client.calls import EVENTS_KEPT, Event

    events = connected.client.events()
    for number in range(EVENTS_KEPT + 10):
        connected.client._session.tell(Event("x", {"n": number}))
    assert outcome(events.next()).data == {"n": 10}
    events.close()
    connected.client._session.tell(Event("x", {}))


def test_closing_says_goodbye_acknowledges_what_was_dealt_with_and_tells_who_waits(connected):
    connected.relay.verdict = lambda seq, to: b"hold"
    connected.relay.deliver(b"one")
    messages = connected.client.listen()
    message = connected.after(messages.next())
    waiting = connected.client.send("alice", b"x")
    connected.run()
    session = connected.relay.sessions[-1]
    message.ack()
    connected.close()
    assert session.ending.orderly
    assert connected.relay.verbs("ack") == [(1,)]
    assert isinstance(outcome(waiting), ConnectError)
    assert isinstance(outcome(messages.next()), ConnectError)
    assert isinstance(outcome(connected.client.send("alice", b"x")), ConnectError)
    assert not connected.clock.getDelayedCalls()


def test_closing_does_not_wait_for_a_relay_that_never_answers(connected):
    connected.relay.silent = True
    connected.close()
    assert not connected.relay.sessions
    assert not connected.clock.getDelayedCalls()


def test_closing_before_ever_being_connected_is_quiet(world):
    world.network.factory = None
    world.client.startService()
    world.run(3)
    world.close()
    assert not world.clock.getDelayedCalls()


def test_a_client_is_a_twisted_service(world):
    from twisted.application.service import MultiService

    parent = MultiService()
    assert isinstance(world.client, Client)
    world.client.setServiceParent(parent)
    parent.startService()
    world.run()
    assert world.client.is_connected
    parent.stopService()
    world.run(5)
    assert not world.relay.sessions
