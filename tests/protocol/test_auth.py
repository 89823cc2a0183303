"""AUTH lines have one length, open under one key, and hold exactly the items that belong there."""

from __future__ import annotations

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.crypto.primitives import SUITES
from securerelay.errors import RemoteError
from securerelay.protocol import auth, lines
from securerelay.protocol.schedule import key_and_iv
from securerelay.protocol.transcript import Item, encode_item

SECRET = bytes(range(48))
FORMS = ((Item.CCERT, Item.CFIN), (Item.INVITE, Item.NEWKEY, Item.CFIN))


def seal(items: list[tuple[Item, bytes]], resumed: bool = False, suite: str = SUITES[0]) -> bytes:
    return auth.seal(suite, SECRET, contexts.CLIENT_AUTH, items, resumed)[:-1]


def unseal(line: bytes, resumed: bool = False, suite: str = SUITES[0]) -> list[bytes]:
    return auth.unseal(line, suite, SECRET, contexts.CLIENT_AUTH, FORMS, resumed)


def line_of(plain: bytes, associated: bytes = contexts.CLIENT_AUTH) -> bytes:
    """An AUTH line of any plaintext."""
    key, iv = key_and_iv(SECRET)
    sealed = primitives.seal(primitives.aead(SUITES[0], key), iv, plain, associated)
    return b"SR1 AUTH " + lines.encode(sealed).encode()


def join(*items: tuple[int, bytes], size: int = 3072) -> bytes:
    parts = (bytes((kind,)) + len(value).to_bytes(4, "big") + value for kind, value in items)
    return b"".join(parts).ljust(size, b"\0")


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(("resumed", "length"), [(False, 4127), (True, 372)])
def test_what_is_sealed_has_one_length_and_comes_out_again(
    suite: str, resumed: bool, length: int
) -> None:
    for values in ([b"", b""], [b"c" * 100, b"f" * 48]):
        line = seal(list(zip(FORMS[0], values, strict=True)), resumed, suite)
        assert len(line) == length
        assert unseal(line, resumed, suite) == values


def test_which_form_it_was_shows_in_the_number_of_values() -> None:
    assert len(unseal(seal([(kind, b"x") for kind in FORMS[1]]))) == 3


def test_items_that_do_not_fit_are_our_own_bug() -> None:
    assert unseal(seal([(Item.CCERT, bytes(3071 - 10)), (Item.CFIN, b"")]))
    with pytest.raises(ValueError, match="do not fit"):
        seal([(Item.CCERT, bytes(3072 - 10)), (Item.CFIN, b"")])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"SR1 HELLO", "protocol"),
        (b"noise", "bad-line"),
        (b"SR1 AUTH", "bad-line"),
        (b"SR1 AUTH ", "bad-line"),
        (b"SR1 AUTH AAAA AAAA", "bad-line"),
        (b"SR1 AUTH AAA=", "bad-line"),
        (b"SR1 AUTH AAB", "bad-line"),
        (b"SR1 AUTH AAAA", "auth-failed"),
        (line_of(join((7, b""), (9, b""), size=3071)), "auth-failed"),
        (line_of(join((7, b""), (9, b""), size=3073)), "auth-failed"),
        (line_of(join((7, b""), (9, b""), size=256)), "auth-failed"),
        (line_of(join((7, b""), (9, b"")), contexts.RELAY_AUTH), "auth-failed"),
        (line_of(b""), "auth-failed"),
        (line_of(bytes(3072)), "auth-failed"),
        (line_of(b"\xff" * 3072), "auth-failed"),
        (line_of(join((7, b""))), "auth-failed"),
        (line_of(join((9, b""))), "auth-failed"),
        (line_of(join((9, b""), (7, b""))), "auth-failed"),
        (line_of(join((7, b""), (8, b""))), "auth-failed"),
        (line_of(join((7, b""), (9, b""), (9, b""))), "auth-failed"),
        (line_of(join((7, b""), (9, bytes(3062)))), "auth-failed"),
        (line_of(join((7, bytes(3067)))), "auth-failed"),
        (line_of(join((7, b""), (9, b""))[:-1] + b"\1"), "auth-failed"),
        (line_of((b"\x07\xff\xff\xff\xff").ljust(3072, b"\0")), "auth-failed"),
        (line_of((b"\x07\1\0\0\0\x09").ljust(3072, b"\0")), "auth-failed"),
        (line_of((b"\x07\0\0\x0c\x00").ljust(3072, b"\0")), "auth-failed"),
    ],
)
def test_anything_else_is_refused(line: bytes, code: str) -> None:
    with pytest.raises(RemoteError) as caught:
        unseal(line)
    assert caught.value.code == code


def test_the_short_form_belongs_to_a_resumption_and_nowhere_else() -> None:
    items = [(Item.CCERT, b""), (Item.CFIN, b"")]
    for resumed in (False, True):
        with pytest.raises(RemoteError, match="another size"):
            unseal(seal(items, resumed), not resumed)


def test_every_altered_byte_is_found() -> None:
    line = seal([(Item.CCERT, b"c"), (Item.CFIN, b"f")], resumed=True)
    for position in range(len(b"SR1 AUTH "), len(line)):
        other = b"A" if line[position : position + 1] != b"A" else b"B"
        with pytest.raises(RemoteError):
            unseal(line[:position] + other + line[position + 1 :], resumed=True)


def test_items_are_written_as_in_the_transcript() -> None:
    assert encode_item(Item.CFIN, b"ab") == join((9, b"ab"), size=0)
