"""Records: four sizes, one order, and no bit of one can be changed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.crypto import primitives
from securerelay.crypto.primitives import SUITES
from securerelay.protocol import schedule
from securerelay.protocol.records import (
    FIRST_SIZE,
    MAX_CONTENT,
    SIZES,
    BrokenRecord,
    Kind,
    Opener,
    Sealer,
)

SECRET = bytes(range(48))


def pair(suite: str = SUITES[0]) -> tuple[Sealer, Opener]:
    return Sealer(suite, SECRET), Opener(suite, SECRET)


def opened(opener: Opener, *segments: bytes) -> list[tuple[int, bytes]]:
    return [record for segment in segments for record in opener.open_all(segment)]


def sealed_plain(plain: bytes, sequence: int = 0) -> bytes:
    """A record of any plaintext, under the right key."""
    key, iv = schedule.key_and_iv(SECRET)
    nonce = (int.from_bytes(iv, "big") ^ sequence).to_bytes(12, "big")
    header = (len(plain) + 16).to_bytes(2, "big")
    return header + primitives.seal(primitives.aead(SUITES[0], key), nonce, plain, header)


@pytest.mark.parametrize("suite", SUITES)
@given(
    records=st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=4),
    cuts=st.lists(st.integers(0, 1200), max_size=5),
)
def test_whatever_the_segments_the_same_records_come_out(
    suite: str, records: list[tuple[Kind, bytes]], cuts: list[int]
) -> None:
    sealer, opener = pair(suite)
    stream = b"".join(sealer.seal(*record) for record in records)
    points = [0, *sorted(cuts), len(stream)]
    segments = [stream[a:b] for a, b in pairwise(points)]
    assert opened(opener, *segments) == records


@pytest.mark.parametrize(
    ("length", "size"),
    [
        (0, 256),
        (255, 256),
        (256, 1024),
        (1023, 1024),
        (1024, 4096),
        (4095, 4096),
        (4096, 16_384),
        (16_383, 16_384),
    ],
)
def test_a_record_has_the_smallest_size_that_holds_it(length: int, size: int) -> None:
    sealer, opener = pair()
    content = b"\0" * length
    record = sealer.seal(Kind.DATA, content)
    assert record[:2] == (size + 16).to_bytes(2, "big")
    assert len(record) == 2 + size + 16
    assert opened(opener, record) == [(Kind.DATA, content)]


def test_too_much_for_a_record_is_our_own_bug() -> None:
    sealer, _ = pair()
    with pytest.raises(ValueError, match="at most 16,383 bytes"):
        sealer.seal(Kind.DATA, bytes(MAX_CONTENT + 1))


def test_the_first_record_of_a_session_has_one_size_whatever_it_says() -> None:
    for content in (b"", b"revoked", bytes(4095)):
        sealer, opener = pair()
        record = sealer.seal(Kind.ALERT, content, FIRST_SIZE)
        assert len(record) == 2 + 4096 + 16
        assert opened(opener, record) == [(Kind.ALERT, content)]


def test_a_stretch_of_the_stream_is_cut_into_as_few_records_as_it_needs() -> None:
    for length, count in ((1, 1), (MAX_CONTENT, 1), (MAX_CONTENT + 1, 2), (MAX_CONTENT * 3, 3)):
        sealer, opener = pair()
        data = bytes(length)
        records = opened(opener, sealer.seal_stream(data))
        assert [kind for kind, _ in records] == [Kind.DATA] * count
        assert b"".join(content for _, content in records) == data


def test_every_flipped_bit_of_a_record_is_found() -> None:
    sealer, _ = pair()
    record = sealer.seal(Kind.DATA, b"pay 10 to bob")
    for bit in range(len(record) * 8):
        altered = bytearray(record)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BrokenRecord):
            opened(Opener(SUITES[0], SECRET), bytes(altered))


def test_a_record_cut_short_at_any_byte_gives_nothing() -> None:
    sealer, _ = pair()
    record = sealer.seal(Kind.DATA, b"x")
    for length in range(len(record)):
        assert opened(Opener(SUITES[0], SECRET), record[:length]) == []


def test_a_record_may_come_in_two_pieces_at_any_byte_or_byte_by_byte() -> None:
    sealer, _ = pair()
    records = sealer.seal(Kind.DATA, b"one") + sealer.seal(Kind.CLOSE, b"two")
    expected = [(1, b"one"), (4, b"two")]
    for cut in range(len(records) + 1):
        assert opened(Opener(SUITES[0], SECRET), records[:cut], records[cut:]) == expected
    assert opened(Opener(SUITES[0], SECRET), *(bytes((b,)) for b in records)) == expected


@pytest.mark.parametrize("order", [[1], [1, 0], [0, 0], [0, 2], [0, 1, 1], [0, 1, 0], [2, 1, 0]])
def test_a_record_dropped_swapped_or_replayed_does_not_open(order: list[int]) -> None:
    sealer, opener = pair()
    records = [sealer.seal(Kind.DATA, bytes((number,))) for number in range(3)]
    with pytest.raises(BrokenRecord, match="does not open"):
        opened(opener, *(records[number] for number in order))


@pytest.mark.parametrize(
    "length",
    [0, 1, 15, 16, 17, 255, 256, 271, 273, 1039, 1041, 4111, 16_399, 16_401, 0x5352, 65535],
)
def test_another_length_is_fatal_at_its_second_byte(length: int) -> None:
    header = length.to_bytes(2, "big")
    with pytest.raises(BrokenRecord, match="length"):
        opened(pair()[1], header)
    opener = pair()[1]
    assert opened(opener, header[:1]) == []
    with pytest.raises(BrokenRecord, match="length"):
        opened(opener, header[1:])


def test_a_record_of_nothing_but_zeros_has_no_type() -> None:
    for size in SIZES:
        with pytest.raises(BrokenRecord, match="no type"):
            opened(pair()[1], sealed_plain(bytes(size)))


def test_records_before_a_broken_one_still_count() -> None:
    sealer, opener = pair()
    records = opener.open_all(sealer.seal(Kind.DATA, b"good") + bytes(2))
    assert next(records) == (Kind.DATA, b"good")
    with pytest.raises(BrokenRecord):
        next(records)


def test_the_length_is_authenticated() -> None:
    key, iv = schedule.key_and_iv(SECRET)
    sealed = primitives.seal(primitives.aead(SUITES[0], key), iv, b"\1".ljust(256, b"\0"), b"")
    with pytest.raises(BrokenRecord, match="does not open"):
        opened(pair()[1], (272).to_bytes(2, "big") + sealed)


def test_a_record_of_the_other_direction_or_suite_does_not_open() -> None:
    record = Sealer(SUITES[0], SECRET[::-1]).seal(Kind.DATA, b"x")
    with pytest.raises(BrokenRecord):
        opened(pair()[1], record)
    record = pair(SUITES[1])[0].seal(Kind.DATA, b"x")
    with pytest.raises(BrokenRecord):
        opened(pair(SUITES[0])[1], record)


def test_nonces_count_from_zero_under_each_key() -> None:
    sealer, opener = pair()
    first, second = sealer.seal(Kind.DATA, b"x"), sealer.seal(Kind.DATA, b"x")
    assert first == sealed_plain(b"x\1".ljust(256, b"\0"))
    assert second == sealed_plain(b"x\1".ljust(256, b"\0"), 1)
    assert (sealer.sequence, opener.sequence) == (2, 0)
    sealer.ratchet()
    assert sealer.sequence == 0


def test_a_ratchet_leads_to_another_key_and_forgets_the_old_one() -> None:
    sealer, opener = pair()
    sealer.ratchet()
    record = sealer.seal(Kind.DATA, b"x")
    with pytest.raises(BrokenRecord):
        opened(pair()[1], record)
    opener.ratchet()
    assert opened(opener, record) == [(Kind.DATA, b"x")]
    assert sealer._secret == schedule.next_traffic(SECRET) == opener._secret


def test_a_key_that_changes_between_two_records_of_one_segment_opens_the_second() -> None:
    sealer, opener = pair()
    stream = sealer.seal(Kind.UPDATE, b"")
    sealer.ratchet()
    stream += sealer.seal(Kind.DATA, b"x")
    found = []
    for kind, content in opener.open_all(stream):
        found.append((kind, content))
        if kind == Kind.UPDATE:
            opener.ratchet()
    assert found == [(Kind.UPDATE, b""), (Kind.DATA, b"x")]


def test_what_waits_for_its_end_is_at_most_one_record() -> None:
    _, opener = pair()
    opened(opener, (16_400).to_bytes(2, "big") + bytes(16_399))
    assert len(opener._partial) == 16_401


@pytest.mark.parametrize("suite", SUITES)
def test_who_dozes_between_two_records_holds_no_cipher_and_goes_on_where_it_was(suite: str) -> None:
    sealer, opener = pair(suite)
    stream = sealer.seal(Kind.DATA, b"1")
    sealer.doze()
    assert sealer._cipher is None
    stream += sealer.seal(Kind.DATA, b"2")
    found = []
    for record in opener.open_all(stream):
        found.append(record)
        opener.doze()
    assert opener._cipher is None
    assert found == [(Kind.DATA, b"1"), (Kind.DATA, b"2")]
    assert (sealer.sequence, opener.sequence) == (2, 2)
