"""The readable lines: written in one form, read in that form alone, the knock before all else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.crypto.groups import GROUPS
from securerelay.crypto.primitives import SUITES
from securerelay.errors import RemoteError
from securerelay.protocol import hello, lines
from securerelay.protocol.hello import ClientHello, KnockMemory

RELAY_ID = bytes(range(32))
KEY = hello.knock_key(RELAY_ID)
NAMES = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32),
    min_size=1,
    max_size=8,
    unique=True,
).map(tuple)


def read(line: bytes) -> ClientHello:
    return hello.read_client_hello(line, KEY, KnockMemory(), 0.0)


def write(**changes: object) -> bytes:
    values: dict[str, object] = {
        "suites": SUITES,
        "groups": ("x25519",),
        "nonce": bytes(32),
        "group": "x25519",
        "share": b"s" * 32,
        "ticket": None,
        **changes,
    }
    return hello.write_client_hello(KEY, **values)  # type: ignore[arg-type]


@given(NAMES, NAMES, st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=1300))
def test_what_a_client_says_is_what_a_relay_reads(
    suites: tuple[str, ...], groups: tuple[str, ...], nonce: bytes, share: bytes
) -> None:
    line = hello.write_client_hello(KEY, suites, groups, nonce, groups[0], share, None)
    said = read(line)
    assert said == ClientHello(line, suites, groups, nonce, groups[0], share, None, None)


def test_a_ticket_comes_with_its_binder_which_covers_the_line_before_it() -> None:
    before = write(ticket=b"t" * 16)
    said = read(hello.add_binder(before, b"b" * 48))
    assert (said.ticket, said.binder) == (b"t" * 16, b"b" * 48)
    assert said.partial() == before


def test_the_lines_have_the_sizes_of_the_protocol() -> None:
    share = GROUPS["x25519mlkem768"].offer().share
    line = write(groups=("x25519mlkem768",), group="x25519mlkem768", share=share)
    assert len(line) + 1 == 1786
    said = hello.write_relay_hello("aes256gcm", bytes(32), "x25519mlkem768", bytes(1120), False)
    assert len(said) + 1 == 1592


def test_the_knock_is_that_of_the_protocol() -> None:
    line = write()
    before, to = line.split(b" to=")
    key = hashlib.sha384(b"securerelay/1 knock" + RELAY_ID).digest()
    assert to.decode() == lines.encode(hmac.digest(key, before, "sha384")[:16])


def test_a_line_with_another_relays_knock_is_bad() -> None:
    with pytest.raises(RemoteError, match="bad-line: wrong or repeated knock"):
        hello.read_client_hello(write(), hello.knock_key(bytes(32)), KnockMemory(), 0.0)


def test_the_knock_is_the_first_of_a_line_and_covers_what_stands_before_it() -> None:
    line = write()
    before, knock = line.split(b" to=")
    for after in (b" to=AAAA", b" binder=AAAA", b" x"):
        assert hello.check_knock(line + after, KEY) == knock
    again = lines.encode(hello.knock(KEY, before + b" to=AAAA")).encode()
    with pytest.raises(RemoteError, match="knock"):
        hello.check_knock(before + b" to=AAAA to=" + again, KEY)


def test_the_knock_is_looked_at_before_anything_else() -> None:
    before = b"SR1 HELLO this is not even a"
    knock = lines.encode(hello.knock(KEY, before)).encode()
    with pytest.raises(RemoteError, match="no suites"):
        read(before + b" to=" + knock)
    with pytest.raises(RemoteError, match="knock"):
        read(before + b" to=" + lines.encode(bytes(16)).encode())
    with pytest.raises(RemoteError, match="knock"):
        read(before)
    with pytest.raises(RemoteError, match="knock"):
        read(before + b" to=" + lines.encode(bytes(15)).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"suites": ("a",) * 2},
        {"suites": ("A",)},
        {"groups": ()},
        {"groups": tuple("abcdefghi")},
        {"nonce": bytes(31)},
        {"nonce": bytes(33)},
        {"group": "X"},
        {"share": b""},
        {"ticket": b"t" * 16},
        {"ticket": b"t" * 15},
    ],
)
def test_a_field_of_another_form_is_bad_though_the_knock_is_right(
    change: dict[str, object],
) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        read(write(**change))


def test_a_binder_of_another_size_or_without_a_ticket_is_bad() -> None:
    for line in (
        hello.add_binder(write(ticket=bytes(16)), bytes(47)),
        hello.add_binder(write(ticket=bytes(15)), bytes(48)),
        hello.add_binder(write(), bytes(48)),
        write(ticket=bytes(16)),
    ):
        with pytest.raises(RemoteError, match=r"^bad-line"):
            read(line)


def test_another_verb_is_out_of_order() -> None:
    with pytest.raises(RemoteError, match=r"^protocol"):
        read(b"SR1 AUTH AAAA")


# --- the memory of knocks ---


def test_a_knock_opens_once_within_its_time() -> None:
    memory = KnockMemory(lifetime=600.0)
    assert memory.first(b"a", 0.0)
    assert not memory.first(b"a", 599.9)
    assert memory.first(b"a", 600.0)
    assert not memory.first(b"a", 600.1)


def test_knocks_are_forgotten_with_time_and_never_pile_up() -> None:
    memory = KnockMemory(capacity=3, lifetime=600.0)
    for number in range(5):
        assert memory.first(bytes((number,)), float(number))
    assert len(memory) == 3
    assert not memory.first(b"\x02", 5.0)
    assert memory.first(b"\x01", 5.0)
    assert memory.first(b"new", 10_000.0)
    assert len(memory) == 1


def test_with_time_only_the_old_knocks_are_forgotten() -> None:
    memory = KnockMemory(lifetime=600.0)
    assert memory.first(b"old", 0.0)
    assert memory.first(b"young", 500.0)
    assert memory.first(b"new", 600.0)
    assert len(memory) == 2
    assert not memory.first(b"young", 600.0)


def test_a_wrong_knock_is_not_remembered() -> None:
    memory = KnockMemory()
    with pytest.raises(RemoteError):
        hello.read_client_hello(write()[:-2] + b"AA", KEY, memory, 0.0)
    assert len(memory) == 0


def test_the_same_first_line_serves_once() -> None:
    memory = KnockMemory()
    hello.read_client_hello(write(), KEY, memory, 0.0)
    # What a wrong knock gets too, so that nobody learns which it was.
    with pytest.raises(RemoteError, match=r"^bad-line: wrong or repeated knock$"):
        hello.read_client_hello(write(), KEY, memory, 1.0)


# --- what a relay says ---


@pytest.mark.parametrize("resumed", [False, True])
def test_what_a_relay_says_is_what_a_client_reads(resumed: bool) -> None:
    line = hello.write_relay_hello("aes256gcm", b"n" * 32, "x25519", b"s" * 32, resumed)
    said = hello.read_relay_hello(line)
    assert (said.line, said.suite, said.nonce) == (line, "aes256gcm", b"n" * 32)
    assert (said.group, said.share, said.resumed) == ("x25519", b"s" * 32, resumed)


@pytest.mark.parametrize(
    "change",
    [
        (b"suite=", b"suites="),
        (b" nonce=AAAA", b" nonce=AAA"),
        (b"x25519:", b"x25519"),
        (b"resumed=yes", b"resumed=no"),
        (b"resumed=yes", b"resumed="),
        (b"resumed=yes", b"resumed=yes x=y"),
        (b"resumed=yes", b"x=y"),
    ],
)
def test_a_relay_that_writes_in_another_way_is_not_understood(change: tuple[bytes, bytes]) -> None:
    line = hello.write_relay_hello("aes256gcm", bytes(32), "x25519", bytes(32), True)
    assert change[0] in line
    with pytest.raises(RemoteError, match=r"^bad-line"):
        hello.read_relay_hello(line.replace(*change))


def test_retry_and_err_are_read_as_written() -> None:
    assert hello.read_retry(hello.write_retry("x25519")) == "x25519"
    for code in hello.ERROR_CODES:
        line = hello.write_error(code)
        assert len(line) <= 64
        assert hello.read_error(line[:-1]) == code


@pytest.mark.parametrize("code", ["Busy", "x" * 33, "a_b", "busy now", "\x1b"])
def test_an_error_code_is_a_plain_word(code: str) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        hello.read_error(b"SR1 ERR code=" + code.encode())
