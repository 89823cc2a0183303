"""Fingerprints bind who somebody is; two people compare one number or one code."""

from __future__ import annotations

import base64
import dataclasses
import hashlib

import pytest

from securerelay.crypto import contexts
from securerelay.protocol.items import encode_items
from securerelay.sealing import fingerprint
from securerelay.sealing.fingerprint import Author
from tests.sealing.world import alice, bob, mallory


def test_a_fingerprint_is_the_hash_of_relay_name_and_both_keys() -> None:
    who = bob().identity
    items = encode_items([(1, who.relay_id), (2, b"bob"), (3, who.spki), (4, who.message_key)])
    assert who.fp == hashlib.sha256(b"securerelay/1 e2e fingerprint\0" + items).digest()
    assert who.sender_id == who.fp[:8]


@pytest.mark.parametrize("change", ["relay_id", "name", "spki", "message_key"])
def test_another_relay_name_or_key_is_another_fingerprint(change: str) -> None:
    value = "bobby" if change == "name" else b"x" * 32
    assert dataclasses.replace(bob().identity, **{change: value}).fp != bob().fp


def test_both_read_the_same_sixty_digits_to_each_other() -> None:
    number = fingerprint.safety_number(alice().fp, bob().fp)
    assert number == fingerprint.safety_number(bob().fp, alice().fp)
    groups = number.split(" ")
    assert len(groups) == 12
    assert all(len(group) == 5 and group.isdecimal() for group in groups)
    assert number != fingerprint.safety_number(alice().fp, mallory().fp)


def test_the_safety_number_is_made_of_sha_512_in_groups_of_five_bytes() -> None:
    low, high = bytes(32), b"\xff" * 32
    digest = hashlib.sha512(b"securerelay/1 e2e safety number\0" + low + high).digest()
    last = int.from_bytes(digest[55:60], "big") % 100_000
    assert fingerprint.safety_number(high, low).endswith(f" {last:05d}")


def test_a_code_is_matched_by_the_one_it_was_made_for_alone() -> None:
    shown = fingerprint.qr_text(bob().fp, alice().fp)
    assert shown.startswith("securerelay:verify/1#")
    packed = shown.removeprefix("securerelay:verify/1#")
    assert base64.urlsafe_b64decode(packed + "==") == bob().fp + alice().fp
    assert fingerprint.qr_matches(shown, alice().fp, bob().fp)
    assert not fingerprint.qr_matches(shown, bob().fp, alice().fp)
    assert not fingerprint.qr_matches(shown, alice().fp, mallory().fp)
    assert not fingerprint.qr_matches(shown + "=", alice().fp, bob().fp)
    assert not fingerprint.qr_matches("\ud800", alice().fp, bob().fp)


def test_what_an_author_signs_is_its_own_under_that_context_alone() -> None:
    signature = alice().author.sign(contexts.E2E_MESSAGE, b"hello")
    assert len(signature) == 64
    assert alice().identity.signed(contexts.E2E_MESSAGE, b"hello", signature)
    assert not alice().identity.signed(contexts.E2E_ROOM_MESSAGE, b"hello", signature)
    assert not alice().identity.signed(contexts.E2E_MESSAGE, b"hellO", signature)
    assert not bob().identity.signed(contexts.E2E_MESSAGE, b"hello", signature)


def test_an_identity_signature_is_of_the_certified_key() -> None:
    signature = fingerprint.sign_as_identity(alice().key, contexts.E2E_BUNDLE, b"x")
    assert alice().identity.signed_as_identity(contexts.E2E_BUNDLE, b"x", signature)
    assert not bob().identity.signed_as_identity(contexts.E2E_BUNDLE, b"x", signature)
    other = dataclasses.replace(alice().identity, spki=b"junk")
    assert not other.signed_as_identity(contexts.E2E_BUNDLE, b"x", signature)


def test_nobody_signs_with_a_seed_that_is_not_theirs() -> None:
    with pytest.raises(ValueError, match="another message key"):
        Author(alice().identity, b"s" * 32)


def test_no_secret_shows_when_things_are_printed() -> None:
    prekey = alice().prekey
    assert prekey.private.hex() not in repr(prekey)
    assert repr(prekey.private) not in repr(prekey)
