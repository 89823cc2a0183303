"""A name is what its grammar says, is never folded, and never looks like another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay import names
from securerelay.errors import BadName

GOOD = ["a", "0", "alice", "a-b", "a.b_c-d", "x" * 32, "1.2.3"]
BAD = [
    "",
    "A",
    "Alice",
    "-a",
    "a-",
    ".a",
    "a.",
    "_a",
    "a_",
    "a b",
    "a\n",
    "a\0",
    "x" * 33,
    "é",
    "а",  # Cyrillic
    "a/b",
    "a@b",
    "٣",
    "@a",
]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_is_returned_unchanged(name: str) -> None:
    assert names.check_peer(name) == name
    assert names.is_peer(name.encode())
    assert names.check_room("@" + name) == "@" + name
    assert names.is_room(b"@" + name.encode())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_rather_than_folded(name: str) -> None:
    with pytest.raises(BadName, match="is no name"):
        names.check_peer(name)
    assert not names.is_peer(name.encode())
    with pytest.raises(BadName):
        names.check_room("@" + name)
    assert not names.is_room(b"@" + name.encode())


@pytest.mark.parametrize("name", ["", "room", "#room"])
def test_a_room_without_its_mark_is_no_room(name: str) -> None:
    with pytest.raises(BadName, match="begins with @"):
        names.check_room(name)
    assert not names.is_room(name.encode())


@given(st.text(max_size=40))
def test_text_and_bytes_are_judged_alike(name: str) -> None:
    encoded = name.encode("utf-8", "surrogatepass")
    for check, holds in ((names.check_peer, names.is_peer), (names.check_room, names.is_room)):
        try:
            check(name)
        except BadName as error:
            assert not holds(encoded)
            assert error.message.isascii()  # noqa: PT017  both ways out are looked at
        else:
            assert holds(encoded)


@pytest.mark.parametrize("name", sorted(names.RESERVED))
def test_a_reserved_word_is_nobodys_name(name: str) -> None:
    assert names.is_reserved(name)
    assert names.is_peer(name.encode())
    with pytest.raises(BadName, match="reserved"):
        names.check_new_peer(name)


def test_any_other_name_can_be_given() -> None:
    assert names.check_new_peer("alice") == "alice"
    assert not names.is_reserved("alice")
    with pytest.raises(BadName, match="is no name"):
        names.check_new_peer("Alice")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob", "b0b"),
        ("alice", "a1ice"),
        ("a.b", "a-b"),
        ("a_b", "a-b"),
        ("modern", "rnodern"),
        ("wow", "vvow"),
    ],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert names.skeleton(one) == names.skeleton(other)


def test_names_that_look_different_have_different_skeletons() -> None:
    different = ["alice", "bob", "a-b", "ab", "carol", "dave", "alic", "alicee"]
    assert len({names.skeleton(name) for name in different}) == len(different)
