"""Session messages: what is written is read, however it is cut, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.errors import RemoteError
from securerelay.protocol import messages
from securerelay.protocol.messages import MessageDecoder, client_decoder, relay_decoder

Decoder = Callable[..., MessageDecoder]


class Heard:
    """Takes whatever a decoder reads."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words: self.said.append((name, *words))


def hear(make: Decoder, *contents: bytes, limit: int = 1 << 20) -> list[tuple[Any, ...]]:
    heard = Heard()
    decoder = make(heard, limit)
    for content in contents:
        decoder.feed(content)
    return heard.said


ID = b"A" * 21 + b"_"
FROM_CLIENT = [
    (messages.stream(ID, 5), ("stream", ID, 5)),
    (messages.send(1, b"bob", None, False, b"hi"), ("send", 1, b"bob", None, False, b"hi")),
    (messages.send(2, b"@all", 0, True, b""), ("send", 2, b"@all", 0, True, b"")),
    (messages.send(3, b"b", 86400, False, b"\n\n"), ("send", 3, b"b", 86400, False, b"\n\n")),
    (messages.listen(0), ("listen", 0)),
    (messages.ack(10**18), ("ack", 10**18)),
    (messages.ping(b"x"), ("ping", b"x")),
    (messages.pong(b"-" * 22), ("pong", b"-" * 22)),
    (messages.call(b"t", b"peer.list", b"{}"), ("call", b"t", b"peer.list", b"{}")),
]
FROM_RELAY = [
    (messages.stream(ID, 0), ("stream", ID, 0)),
    (messages.ok(7), ("ok", 7)),
    (messages.no(8, b"mailbox-full"), ("no", 8, b"mailbox-full")),
    (messages.listening(3, 9), ("listen", 3, 9)),
    (
        messages.msg_header(4, b"bob", b"@all", ID, 5, 1700, 3) + b"abc",
        ("msg", 4, b"bob", b"@all", ID, 5, 1700, b"abc"),
    ),
    (messages.got(5, b"bob", 1700), ("got", 5, b"bob", 1700)),
    (messages.stopped(b"replaced"), ("stopped", b"replaced")),
    (messages.ping(b"x"), ("ping", b"x")),
    (messages.pong(b"x"), ("pong", b"x")),
    (messages.reply(b"t", b"ok", b"[]"), ("reply", b"t", b"ok", b"[]")),
    (messages.event(b"presence", b"{}"), ("event", b"presence", b"{}")),
]
BOTH = [(relay_decoder, FROM_CLIENT), (client_decoder, FROM_RELAY)]


def test_what_each_message_looks_like() -> None:
    place = messages.msg_place(b"bob", b"@all", ID)
    header = b"MSG 4 bob @all %b 5 1700 3\n" % ID
    assert messages.msg_header(4, b"bob", b"@all", ID, 5, 1700, 3) == header
    assert messages.msg_run(4, place, 5, 1700, [b"abc"]) == header + b"abc"
    assert messages.msg_again(4, messages.msg_tail(place, 5, 1700, 3)) == header
    assert messages.stream(ID, 5) == b"STREAM %b 5\n" % ID
    assert messages.send(1, b"bob", None, False, b"hi") == b"SEND 1 bob - - 2\nhi"
    assert messages.send(2, b"@all", 0, True, b"") == b"SEND 2 @all 0 r 0\n"
    assert messages.listen(6) == b"LISTEN 6\n"
    assert messages.listening(3, 9) == b"LISTEN 3 9\n"
    assert messages.ack(7) == b"ACK 7\n"
    assert messages.ok(7) == b"OK 7\n"
    assert messages.no(8, b"mailbox-full") == b"NO 8 mailbox-full\n"
    assert messages.got(5, b"bob", 1700) == b"GOT 5 bob 1700\n"
    assert messages.stopped(b"replaced") == b"STOPPED replaced\n"
    assert messages.ping(b"x") == b"PING x\n"
    assert messages.pong(b"x") == b"PONG x\n"
    assert messages.call(b"t", b"peer.list", b"{}") == b"CALL t peer.list 2\n{}"
    assert messages.reply(b"t", b"ok", b"[]") == b"REPLY t ok 2\n[]"
    assert messages.event(b"presence", b"{}") == b"EVENT presence 2\n{}"


@pytest.mark.parametrize(("make", "said"), BOTH)
def test_every_message_is_read_as_written(
    make: Decoder, said: list[tuple[bytes, tuple[Any, ...]]]
) -> None:
    for written, read in said:
        assert hear(make, written) == [read]
    assert hear(make, b"".join(w for w, _ in said)) == [read for _, read in said]


@pytest.mark.parametrize(("make", "said"), BOTH)
def test_messages_may_be_cut_anywhere(
    make: Decoder, said: list[tuple[bytes, tuple[Any, ...]]]
) -> None:
    stream, read = b"".join(w for w, _ in said), [r for _, r in said]
    for cut in range(len(stream) + 1):
        assert hear(make, stream[:cut], stream[cut:]) == read
    assert hear(make, *(bytes((byte,)) for byte in stream)) == read


@given(
    st.lists(st.sampled_from(FROM_CLIENT), max_size=5),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_any_messages_in_any_pieces_are_the_same(
    said: list[tuple[bytes, tuple[Any, ...]]], cuts: list[int]
) -> None:
    stream = b"".join(written for written, _ in said)
    points = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(points)]
    assert hear(relay_decoder, *pieces) == [read for _, read in said]


@given(
    st.lists(st.binary(max_size=60), max_size=4), st.sampled_from([relay_decoder, client_decoder])
)
def test_noise_is_a_breach_or_unfinished_and_nothing_worse(
    contents: list[bytes], make: Decoder
) -> None:
    try:
        hear(make, *contents)
    except RemoteError as error:
        assert error.code in ("protocol", "too-large")  # noqa: PT017


@given(st.sampled_from(FROM_CLIENT), st.integers(0, 60), st.integers(0, 255))
def test_an_altered_message_is_another_one_or_a_breach(
    said: tuple[bytes, Any], position: int, byte: int
) -> None:
    altered = bytearray(said[0])
    altered[position % len(altered)] = byte
    try:
        hear(relay_decoder, bytes(altered))
    except RemoteError as error:
        assert error.code in ("protocol", "too-large")  # noqa: PT017


BAD_FOR_THE_RELAY = [
    b"\n",
    b" \n",
    b"send 1 bob - - 0\n",
    b"OK 1\n",
    b"MSG 1 bob bob " + ID + b" 1 1 0\n",
    b"NOTHING\n",
    b"ACK\n",
    b"ACK 1 2\n",
    b"ACK  1\n",
    b" ACK 1\n",
    b"ACK 1 \n",
    b"ACK 1\r\n",
    b"ACK\t1\n",
    b"ACK -1\n",
    b"ACK +1\n",
    b"ACK 01\n",
    b"ACK 00\n",
    b"ACK 1_0\n",
    b"ACK 0x1\n",
    b"ACK " + "٣".encode() + b"\n",
    b"ACK " + b"1" * 20 + b"\n",
    b"LISTEN a\n",
    b"STREAM " + ID[:-1] + b" 0\n",
    b"STREAM " + ID + b"A 0\n",
    b"STREAM " + ID[:-1] + b"+ 0\n",
    b"STREAM " + ID + b" -\n",
    b"SEND 1 Bob - - 0\n",
    b"SEND 1 @ - - 0\n",
    b"SEND 1 @@a - - 0\n",
    b"SEND 1 " + b"x" * 33 + b" - - 0\n",
    b"SEND 1 @" + b"x" * 33 + b" - - 0\n",
    b"SEND 1 bob -1 - 0\n",
    b"SEND 1 bob r - 0\n",
    b"SEND 1 bob - x 0\n",
    b"SEND 1 bob - rr 0\n",
    b"SEND 1 bob - - -0\n",
    b"SEND - bob - - 0\n",
    b"SEND 0 bob - - 0\n",
    b"SEND 1 bob - - 0 \n",
    b"PING \n",
    b"PING " + b"x" * 23 + b"\n",
    b"PING a+b\n",
    b"PING a\x00\n",
    b"PONG a.b\n",
    b"CALL t peer/list 0\n",
    b"CALL t .list 0\n",
    b"CALL t " + b"x" * 65 + b" 0\n",
    b"CALL t! peer.list 0\n",
    b"ACK 1\x80\n",
]
BAD_FOR_A_CLIENT = [
    b"SEND 1 bob - - 0\n",
    b"NO 1 Bad\n",
    b"NO 1 \n",
    b"NO x offline\n",
    b"LISTEN 1\n",
    b"MSG 1 @room bob " + ID + b" 1 1 0\n",
    b"MSG 1 bob Bob " + ID + b" 1 1 0\n",
    b"MSG 1 bob bob short 1 1 0\n",
    b"MSG x bob bob " + ID + b" 1 1 0\n",
    b"MSG 1 bob bob " + ID + b" x 1 0\n",
    b"MSG 1 bob bob " + ID + b" 1 x 0\n",
    b"GOT 1 @room 1\n",
    b"GOT 1 bob x\n",
    b"GOT x bob 1\n",
    b"STOPPED \x1b[2J\n",
    b"REPLY t OK 0\n",
    b"REPLY t! ok 0\n",
    b"EVENT Presence 0\n",
    b"OK\n",
    b"OK x\n",
]


@pytest.mark.parametrize(
    ("make", "said"),
    [(relay_decoder, said) for said in BAD_FOR_THE_RELAY]
    + [(client_decoder, said) for said in BAD_FOR_A_CLIENT],
)
def test_a_message_of_another_form_is_a_breach(make: Decoder, said: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^protocol"):
        hear(make, said)


def test_a_header_ends_within_512_bytes() -> None:
    with pytest.raises(RemoteError, match="unknown verb"):
        hear(relay_decoder, b"x" * 511 + b"\n")
    assert hear(relay_decoder, b"x" * 511) == []
    for pieces in ([b"x" * 512], [b"x" * 511, b"x"], [b"x" * 512 + b"\n"], [b"x" * 511, b"x\n"]):
        with pytest.raises(RemoteError, match="header too long"):
            hear(relay_decoder, *pieces)
    with pytest.raises(RemoteError, match="header too long"):
        hear(relay_decoder, messages.ack(1) + b"x" * 512)


def test_a_body_above_the_limit_is_refused_before_it_is_read() -> None:
    whole = messages.send(1, b"bob", None, False, b"x" * 100)
    assert hear(relay_decoder, whole, limit=100)
    with pytest.raises(RemoteError, match=r"^too-large"):
        hear(relay_decoder, whole[:-100], limit=99)


def test_a_large_body_comes_in_many_records() -> None:
    body = bytes(range(256)) * 4096
    whole = messages.send(1, b"bob", None, False, body) + messages.ack(2)
    pieces = [whole[at : at + 16_383] for at in range(0, len(whole), 16_383)]
    assert hear(relay_decoder, *pieces) == [("send", 1, b"bob", None, False, body), ("ack", 2)]


def test_what_waits_for_its_end_is_bounded_and_given_away_when_it_comes() -> None:
    decoder = relay_decoder(Heard(), 1000)  # type: ignore[arg-type]
    decoder.feed(messages.send(1, b"bob", None, False, bytes(1000))[:-1])
    assert decoder._partial is not None
    assert len(decoder._partial) < 1000 + messages.MAX_HEADER
    decoder.feed(b"\0")
    assert decoder._partial is None
