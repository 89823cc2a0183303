"""Messages taken in turns, and runs of them: the same as one by one, and no longer than allowed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.errors import RemoteError
from securerelay.protocol import messages
from securerelay.protocol.messages import relay_decoder
from tests.protocol.test_messages import ID, Heard, hear


def test_a_run_is_written_as_its_messages_one_by_one() -> None:
    place = messages.msg_place(b"bob", b"@all", ID)
    for bodies in ([], [b""], [b"%d%%", b"\n", b"x" * 70_000, b""]):
        single = [
            messages.msg_header(9 + i, b"bob", b"@all", ID, 4 + i, 1700, len(body)) + body
            for i, body in enumerate(bodies)
        ]
        assert messages.msg_run(9, place, 4, 1700, bodies) == b"".join(single)
        tails = [messages.msg_tail(place, 4 + i, 1700, len(body)) for i, body in enumerate(bodies)]
        assert b"".join(messages.msg_run_again(9, tails, bodies)) == b"".join(single)


def in_turns(most: int, *contents: bytes, runs: bool = False) -> list[tuple[bool, list[Any]]]:
    """Feed contents; for each, whether some was left, and what was said."""
    heard = Heard()
    take = (lambda *run: heard.said.append(run)) if runs else None
    decoder = relay_decoder(heard, 1 << 20, take, most)  # type: ignore[arg-type]
    turns = []
    for content in contents:
        heard.said = []
        turns.append((decoder.feed(content), heard.said))
    return turns


def test_so_many_messages_are_taken_at_once_and_the_others_when_asked() -> None:
    said = b"".join(messages.ack(n) for n in range(1, 6))
    one, two, three, four, five = (("ack", n) for n in range(1, 6))
    turns = in_turns(2, said, b"", b"", b"")
    assert turns == [(True, [one, two]), (True, [three, four]), (False, [five]), (False, [])]
    assert in_turns(5, said, b"") == [(False, [one, two, three, four, five]), (False, [])]
    # What comes in between stands behind what was left.
    late = in_turns(2, said[:-3], said[-3:] + messages.ping(b"x"), b"")
    assert late == [(True, [one, two]), (True, [three, four]), (False, [five, ("ping", b"x")])]


def test_the_rest_of_a_message_is_waited_for_whatever_the_turn() -> None:
    sent = messages.send(1, b"bob", None, False, b"body")
    read = [("send", 1, b"bob", None, False, b"body")]
    for cut in range(1, len(sent)):
        first, second, third = in_turns(1, messages.ack(7) + sent[:cut], b"", sent[cut:])
        assert first == (True, [("ack", 7)])
        assert second == (False, [])
        assert third == (False, read)


def test_nothing_is_left_for_another_turn_of_what_did_not_come_yet() -> None:
    sent = messages.send(1, b"bob", None, False, b"body")
    turns = in_turns(1, *(bytes((byte,)) for byte in sent))
    assert [more for more, _ in turns] == [False] * len(sent)
    assert turns[-1][1] == [("send", 1, b"bob", None, False, b"body")]


def test_a_run_is_taken_as_one_message() -> None:
    said = b"".join(messages.send(n, b"b", None, False, b"y") for n in range(1, 4)) * 2
    run = (1, b"b", None, False, [b"y", b"y", b"y"])
    ack = messages.ack(1)
    assert in_turns(1, said + ack, b"", b"", runs=True) == [
        (True, [run]),
        (True, [run]),
        (False, [("ack", 1)]),
    ]


Run = tuple[int, bytes, "int | None", bool, list[bytes]]


def hear_runs(*contents: bytes, limit: int = 1 << 20) -> list[Any]:
    heard = Heard()
    decoder = relay_decoder(heard, limit, lambda *run: heard.said.append(run))  # type: ignore[arg-type]
    for content in contents:
        decoder.feed(content)
    return heard.said


@pytest.mark.parametrize(("size", "taken"), [(65_535, [3]), (65_536, [1, 2])])
def test_a_large_body_that_came_in_pieces_is_taken_alone(size: int, taken: list[int]) -> None:
    said = messages.send(1, b"b", None, False, b"x" * size)
    small = b"".join(messages.send(n, b"b", None, False, b"y") for n in (2, 3))
    heard = hear_runs(said[:-1], said[-1:] + small)
    assert [len(bodies) for *_, bodies in heard] == taken
    assert [seq for seq, *_ in heard] == ([1] if taken == [3] else [1, 2])
    assert b"".join(body for *_, bodies in heard for body in bodies) == b"x" * size + b"yy"


def singly(said: list[Any]) -> list[tuple[Any, ...]]:
    single = []
    for words in said:
        if words[0] in ("ack", "ping"):
            single.append(words)
        else:
            seq, to, ttl, receipt, bodies = words
            single += [("send", seq + i, to, ttl, receipt, body) for i, body in enumerate(bodies)]
    return single


def test_messages_that_are_alike_come_in_one_run() -> None:
    said = [messages.send(seq, b"bob", 5, False, b"x" * seq) for seq in range(9, 13)]
    bodies = [b"x" * seq for seq in range(9, 13)]
    assert hear_runs(b"".join(said)) == [(9, b"bob", 5, False, bodies)]


@pytest.mark.parametrize(
    "other",
    [
        messages.send(3, b"bob", None, False, b""),
        messages.send(2, b"bo", None, False, b""),
        messages.send(2, b"bobb", None, False, b""),
        messages.send(2, b"bob", 0, False, b""),
        messages.send(2, b"bob", None, True, b""),
    ],
)
def test_a_message_that_is_not_alike_is_no_part_of_a_run(other: bytes) -> None:
    heard = hear_runs(messages.send(1, b"bob", None, False, b"") + other)
    assert [run[4] for run in heard] == [[b""], [b""]]
    assert singly(heard) == hear(relay_decoder, messages.send(1, b"bob", None, False, b"") + other)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"ab"]),
            st.sampled_from([None, None, 0, 10]),
            st.booleans(),
            st.sampled_from([b"", b"x", b"SEND 2 a - - 0\n", b"\n" * 40]),
            st.sampled_from([1, 1, 1, 1, 1, 2]),
            st.sampled_from([b"", b"", b"", messages.ack(1), messages.ping(b"t")]),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 400), max_size=3),
)
def test_runs_hold_what_comes_one_by_one(rows: list[Any], cuts: list[int]) -> None:
    stream, seq = b"", 0
    for to, ttl, receipt, body, step, between in rows:
        seq += step
        stream += messages.send(seq, to, ttl, receipt, body) + between
    points = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(points)]
    assert singly(hear_runs(*pieces)) == hear(relay_decoder, stream)


def test_a_run_goes_on_where_it_is_and_not_where_the_content_begins() -> None:
    one, two = (messages.send(seq, b"b", None, False, b"x") for seq in (1, 2))
    stream = two + one + messages.ping(b"x") * 9
    assert singly(hear_runs(stream)) == hear(relay_decoder, stream)


def test_a_run_may_be_cut_anywhere() -> None:
    stream = b"".join(messages.send(seq, b"bob", None, False, b"body") for seq in range(1, 5))
    said = hear(relay_decoder, stream)
    for cut in range(len(stream)):
        assert singly(hear_runs(stream[:cut], stream[cut:])) == said


@pytest.mark.parametrize(
    "bad",
    [
        b"SEND 3 bob - - 01\nx",
        b"SEND 3 bob - - +1\nx",
        b"SEND 3 bob - -  1\nx",
        b"SEND 03 bob - - 1\nx",
        b"SEND 3 bob - - 1 \nx",
        b"SEND 3 bob - - " + b"1" * 20 + b"\n",
        b"SEND 3 bob - - 101\n",
        b"NOTHING\n",
    ],
)
def test_what_came_before_a_breach_counts(bad: bytes) -> None:
    heard = Heard()
    decoder = relay_decoder(heard, 100, lambda *run: heard.said.append(run))  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        decoder.feed(b"".join(messages.send(n, b"bob", None, False, b"y") for n in (1, 2)) + bad)
    assert heard.said == [(1, b"bob", None, False, [b"y", b"y"])]


def test_a_run_is_not_longer_than_can_be_refused_at_little_cost() -> None:
    said = b"".join(messages.send(seq, b"b", None, False, b"") for seq in range(1, 301))
    assert [len(run[4]) for run in hear_runs(said)] == [128, 128, 44]


def test_no_number_in_a_run_is_too_long() -> None:
    first = 10**19 - 1
    with pytest.raises(RemoteError, match=r"^protocol"):
        hear_runs(
            b"".join(messages.send(seq, b"b", None, False, b"") for seq in (first, first + 1))
        )
