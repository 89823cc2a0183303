"""Leaves and heads of the key log are written in one way, and heads are the relay's alone."""

from __future__ import annotations

import dataclasses

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.errors import RemoteError
from securerelay.identity import keylog
from securerelay.identity.keylog import Kind, Leaf
from securerelay.protocol.items import encode_items, u64
from tests.keys import rsa_key

LEAF = Leaf(Kind.ISSUED, 1000, "bob", b"s" * 32, b"c" * 32)
HEAD = keylog.sign_head(rsa_key(), b"i" * 32, 5, b"r" * 32, 2000)


def test_a_leaf_has_its_items_in_order() -> None:
    assert LEAF.encode() == encode_items(
        [(1, b"\1"), (2, u64(1000)), (3, b"bob"), (4, b"s" * 32), (5, b"c" * 32)]
    )
    assert Leaf.read(LEAF.encode()) == LEAF
    assert LEAF.hash() == primitives.sha256(b"\0", LEAF.encode())


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_read_again(kind: Kind) -> None:
    leaf = dataclasses.replace(LEAF, kind=kind)
    assert Leaf.read(leaf.encode()) == leaf


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LEAF.encode()[:-1],
        LEAF.encode().replace(b"\1\0\0\0\1\1", b"\1\0\0\0\1\4"),
        LEAF.encode().replace(b"bob", b"Bob"),
    ],
)
def test_what_is_no_leaf_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError, match="bad-items"):
        Leaf.read(data)


def test_a_head_is_signed_by_the_relay() -> None:
    head = keylog.read_head(HEAD)
    assert (head.relay_id, head.size, head.root, head.time) == (b"i" * 32, 5, b"r" * 32, 2000)
    assert head.signed == keylog.unsigned_head(b"i" * 32, 5, b"r" * 32, 2000)
    assert head.signed_by(rsa_key().public_key())
    assert not head.signed_by(rsa_key(2048, 1).public_key())


def test_a_signature_for_something_else_is_no_head() -> None:
    unsigned = keylog.unsigned_head(b"i" * 32, 5, b"r" * 32, 2000)
    digest = primitives.sha384(unsigned)
    signature = primitives.sign_pss(rsa_key(), contexts.RELAY_VERIFY, digest)
    head = keylog.read_head(keylog.finish_head(unsigned, signature))
    assert not head.signed_by(rsa_key().public_key())


def test_no_bit_of_a_head_can_be_changed() -> None:
    public = rsa_key().public_key()
    for bit in range(8 * len(HEAD)):
        data = bytearray(HEAD)
        data[bit // 8] ^= 1 << bit % 8
        try:
            head = keylog.read_head(bytes(data))
        except RemoteError:
            continue
        assert not head.signed_by(public)
