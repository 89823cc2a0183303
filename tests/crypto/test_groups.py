"""Both ends of every group agree, and refuse what no honest end sends."""

from __future__ import annotations

import functools

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa, x25519

from securerelay.crypto import primitives
from securerelay.crypto.groups import (
    DEFAULT_GROUPS,
    GROUPS,
    HybridOffer,
    Offer,
    Rsa3072Oaep,
    RsaOaepOffer,
    X25519Offer,
)
from securerelay.errors import RemoteError
from tests.crypto.test_primitives import rsa_spki
from tests.protocol.ends import rsa_key

HEX = bytes.fromhex
SIZES = {  # client's share, relay's share, Z
    "x25519mlkem768": (1216, 1120, 64),
    "x25519": (32, 32, 32),
    "ffdhe3072": (384, 384, 384),
    "rsa3072-oaep": (422, 384, 48),
}

# Every point of small order and its non-canonical twins: any of them makes the result all zero.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    HEX("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    HEX("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    HEX("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    HEX("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    HEX("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@functools.cache
def offer(name: str) -> Offer:
    return GROUPS[name].offer()


def test_the_hybrid_is_the_default_and_the_floor() -> None:
    assert DEFAULT_GROUPS == ("x25519mlkem768",)
    assert tuple(GROUPS) == tuple(SIZES)
    assert all(group.name == name for name, group in GROUPS.items())


@pytest.mark.parametrize("name", SIZES)
def test_both_ends_agree_on_a_secret_of_the_stated_size(name: str) -> None:
    share, secret = GROUPS[name].answer(offer(name).share)
    assert offer(name).complete(share) == secret
    assert (len(offer(name).share), len(share), len(secret)) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_every_exchange_is_fresh(name: str) -> None:
    (one, first), (other, second) = (GROUPS[name].answer(offer(name).share) for _ in range(2))
    assert one != other
    assert first != second
    assert GROUPS[name].offer().share != offer(name).share


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + b"\0", lambda s: b""])
def test_a_share_of_another_length_is_bad(name: str, change: object) -> None:
    assert callable(change)
    share, _ = GROUPS[name].answer(offer(name).share)
    with pytest.raises(RemoteError, match=r"^bad-share"):
        GROUPS[name].answer(change(offer(name).share))
    with pytest.raises(RemoteError, match=r"^bad-share"):
        offer(name).complete(change(share))


def test_x25519_is_that_of_rfc_7748() -> None:
    private = HEX("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    alice = X25519Offer(x25519.X25519PrivateKey.from_private_bytes(private))
    assert alice.share == HEX("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    bob = HEX("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert alice.complete(bob) == HEX(
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_bad_alone_and_in_the_hybrid(point: bytes) -> None:
    hybrid = offer("x25519mlkem768")
    share, _ = GROUPS["x25519mlkem768"].answer(hybrid.share)
    for attempt in (
        lambda: GROUPS["x25519"].answer(point),
        lambda: offer("x25519").complete(point),
        lambda: GROUPS["x25519mlkem768"].answer(hybrid.share[:1184] + point),
        lambda: hybrid.complete(share[:1088] + point),
    ):
        with pytest.raises(RemoteError, match=r"^bad-share"):
            attempt()


def test_an_encapsulation_key_out_of_range_is_bad() -> None:
    with pytest.raises(RemoteError, match="bad-share: not an ML-KEM-768 encapsulation key"):
        GROUPS["x25519mlkem768"].answer(b"\xff" * 1184 + offer("x25519").share)


def test_an_altered_ciphertext_gives_another_secret_and_no_error() -> None:
    """So only the Finished of both sides tells (FIPS 203 section 6.3)."""
    hybrid = offer("x25519mlkem768")
    share, secret = GROUPS["x25519mlkem768"].answer(hybrid.share)
    altered = hybrid.complete(bytes((share[0] ^ 1,)) + share[1:])
    assert altered[:32] != secret[:32]
    assert altered[32:] == secret[32:]


def test_the_hybrid_joins_both_secrets_in_order() -> None:
    hybrid = HybridOffer()
    share, secret = GROUPS["x25519mlkem768"].answer(hybrid.share)
    assert secret[32:] == hybrid._curve.complete(share[1088:])
    assert secret[:32] == hybrid._kem.decapsulate(share[:1088])


@pytest.mark.parametrize(
    "share",
    [
        b"not a key",
        primitives.spki(rsa_key().public_key()),
        rsa_spki((1 << 3070) + 1),
        rsa_spki((1 << 3072) + 1),
        rsa_spki((1 << 3071) + 1, 3),
        rsa_spki((1 << 3071) + 2),
        rsa_spki(1 << 3071),
    ],
    ids=["junk", "2048 bits", "3071 bits", "3073 bits", "e = 3", "even", "a power of two"],
)
def test_an_rsa_key_of_another_kind_is_bad(share: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^bad-share"):
        GROUPS["rsa3072-oaep"].answer(share)


def test_an_rsa_share_carries_48_bytes_under_our_label() -> None:
    mine = offer("rsa3072-oaep")
    assert isinstance(mine, RsaOaepOffer)
    public = rsa_key_of(mine)
    for size in (0, 47, 49, 64):
        with pytest.raises(RemoteError, match="48 bytes"):
            mine.complete(public.encrypt(bytes(size), Rsa3072Oaep.PADDING))
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    for label in (None, b"another label"):
        scheme = padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA384(), label)
        with pytest.raises(RemoteError, match="does not open"):
            mine.complete(public.encrypt(bytes(48), scheme))


def rsa_key_of(mine: RsaOaepOffer) -> rsa.RSAPublicKey:
    key = primitives.load_rsa_spki(mine.share)
    assert key is not None
    assert primitives.is_strong_rsa(key, 3072, 3072)
    return key
