"""HPKE seals to one prekey and opens for nobody else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securerelay.crypto import hpke

PRIVATE = bytes(range(96))
KEY, PUBLIC = hpke.load_private(PRIVATE)
SEALED = hpke.seal(hpke.load_public(PUBLIC), b"info", b"hello")


def test_what_is_sealed_opens_with_the_private_key() -> None:
    assert hpke.unseal(KEY, b"info", SEALED) == b"hello"
    assert len(SEALED) == len(b"hello") + hpke.OVERHEAD


def test_the_public_half_is_that_of_both_keys() -> None:
    ek = mlkem.MLKEM768PrivateKey.from_seed_bytes(PRIVATE[:64]).public_key()
    point = x25519.X25519PrivateKey.from_private_bytes(PRIVATE[64:]).public_key()
    assert ek.public_bytes_raw() + point.public_bytes_raw() == PUBLIC


def test_it_opens_neither_for_another_key_nor_for_other_info() -> None:
    other, _ = hpke.load_private(hpke.generate())
    assert hpke.unseal(other, b"info", SEALED) is None
    assert hpke.unseal(KEY, b"other", SEALED) is None


@pytest.mark.parametrize("size", [0, 31, 1088, 1120, 1135])
def test_what_is_too_short_does_not_open(size: int) -> None:
    assert hpke.unseal(KEY, b"info", SEALED[:size]) is None


def test_a_point_of_low_order_in_a_ciphertext_does_not_open() -> None:
    assert hpke.unseal(KEY, b"info", SEALED[:1088] + bytes(32) + SEALED[1120:]) is None


@pytest.mark.parametrize(
    "public", [b"", PUBLIC[:-1], PUBLIC + b"\0", b"\xff" * 1184 + PUBLIC[1184:]]
)
def test_a_public_key_of_another_length_or_no_valid_one_is_refused(public: bytes) -> None:
    with pytest.raises(ValueError, match=r"HPKE key|ML-KEM"):
        hpke.load_public(public)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_point_of_low_order_is_refused_before_anything_is_sealed_to_it(point: bytes) -> None:
    with pytest.raises(ValueError, match="shared key"):
        hpke.load_public(PUBLIC[:1184] + point)


@pytest.mark.parametrize("size", [0, 95, 97])
def test_a_private_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="HPKE key"):
        hpke.load_private(bytes(size))


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha256")


def expand(secret: bytes, info: bytes, length: int) -> bytes:
    result, block, number = b"", b"", 1
    while len(result) < length:
        block = hmac.digest(secret, block + info + bytes((number,)), "sha256")
        result, number = result + block, number + 1
    return result[:length]


def test_it_is_hpke_written_out_by_hand() -> None:
    """RFC 9180 with the KEM of draft-ietf-hpke-pq, id 0x647a: X-Wing's combiner."""
    ct, share = SEALED[:1088], SEALED[1088:1120]
    first = mlkem.MLKEM768PrivateKey.from_seed_bytes(PRIVATE[:64]).decapsulate(ct)
    scalar = x25519.X25519PrivateKey.from_private_bytes(PRIVATE[64:])
    second = scalar.exchange(x25519.X25519PublicKey.from_public_bytes(share))
    secret = hashlib.sha3_256(
        first + second + share + PUBLIC[1184:] + bytes.fromhex("5c2e2f2f5e5c")
    ).digest()

    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def labeled_extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + ikm)

    def labeled_expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
        return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)

    context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"")
    context += labeled_extract(b"", b"info_hash", b"info")
    prk = labeled_extract(secret, b"secret", b"")
    key = labeled_expand(prk, b"key", context, 32)
    nonce = labeled_expand(prk, b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, SEALED[1120:], b"") == b"hello"
