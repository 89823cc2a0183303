"""Primitives give the answers of their standards, and cannot be used with other parameters."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from securerelay.crypto import contexts, primitives
from tests.protocol.ends import rsa_key

HEX = bytes.fromhex


def test_hashes_are_those_of_fips_180() -> None:
    assert primitives.sha256(b"a", b"bc") == HEX(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert primitives.sha384(b"ab", b"c") == HEX(
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
        "8086072ba1e7cc2358baeca134c825a7"
    )


def test_hmac_is_that_of_rfc_4231() -> None:
    assert primitives.hmac384(b"\x0b" * 20, b"Hi There") == HEX(
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
        "faea9ea9076ede7f4af152e8b2fa9cb6"
    )
    assert primitives.hmac384(b"Jefe", b"what do ya want for nothing?") == HEX(
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
        "8e2240ca5e69e2c78b3239ecfab21649"
    )


def expand_by_hand(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand as RFC 5869 section 2.3 writes it."""
    block, output, counter = b"", b"", 0
    while len(output) < length:
        counter += 1
        block = hmac.digest(secret, block + info + bytes((counter,)), "sha384")
        output += block
    return output[:length]


@given(st.binary(max_size=80), st.binary(max_size=200), st.integers(1, 300))
def test_hkdf_is_that_of_rfc_5869(secret: bytes, info: bytes, length: int) -> None:
    pseudorandom = primitives.hkdf_extract(info, secret)
    assert pseudorandom == hmac.digest(info, secret, "sha384")
    assert primitives.hkdf_expand(pseudorandom, info, length) == expand_by_hand(
        pseudorandom, info, length
    )


def test_a_label_is_framed_with_its_lengths() -> None:
    secret, context = bytes(range(48)), bytes(range(48, 96))
    info = b"\x00\x20" + b"\x07sr1 key" + b"\x30" + context
    assert primitives.expand_label(secret, b"key", context, 32) == expand_by_hand(secret, info, 32)
    info = b"\x00\x0c" + b"\x06sr1 iv" + b"\x00"
    assert primitives.expand_label(secret, b"iv", b"", 12) == expand_by_hand(secret, info, 12)


def test_aes_256_gcm_is_that_of_nist() -> None:
    cipher = primitives.aead("aes256gcm", bytes(32))
    sealed = primitives.seal(cipher, bytes(12), bytes(16), b"")
    assert sealed == HEX("cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919")
    assert primitives.unseal(cipher, bytes(12), sealed, b"") == bytes(16)


def test_chacha20_poly1305_is_that_of_rfc_8439() -> None:
    cipher = primitives.aead("chacha20poly1305", bytes(range(0x80, 0xA0)))
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    nonce, associated = HEX("070000004041424344454647"), HEX("50515253c0c1c2c3c4c5c6c7")
    sealed = primitives.seal(cipher, nonce, text, associated)
    assert sealed[-16:] == HEX("1ae10b594f09e26a7e902ecbd0600691")
    assert primitives.unseal(cipher, nonce, sealed, associated) == text


@pytest.mark.parametrize("suite", primitives.SUITES)
def test_what_was_altered_does_not_open(suite: str) -> None:
    cipher = primitives.aead(suite, bytes(32))
    sealed = primitives.seal(cipher, bytes(12), b"text", b"ad")
    for wrong in (
        (bytes(11) + b"\1", sealed, b"ad"),
        (bytes(12), sealed, b"aD"),
        (bytes(12), sealed[:-1], b"ad"),
        (bytes(12), b"", b"ad"),
        (bytes(12), bytes((sealed[0] ^ 1,)) + sealed[1:], b"ad"),
    ):
        assert primitives.unseal(cipher, *wrong) is None


@pytest.mark.parametrize("suite", primitives.SUITES)
@pytest.mark.parametrize("size", [0, 8, 11, 13, 16])
def test_a_nonce_of_another_size_is_our_own_bug(suite: str, size: int) -> None:
    cipher = primitives.aead(suite, bytes(32))
    with pytest.raises(ValueError, match="an AEAD nonce has 12 bytes"):
        primitives.seal(cipher, bytes(size), b"", b"")
    with pytest.raises(ValueError, match="an AEAD nonce has 12 bytes"):
        primitives.unseal(cipher, bytes(size), bytes(16), b"")


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_a_key_of_another_size_is_our_own_bug(size: int) -> None:
    for suite in primitives.SUITES:
        with pytest.raises(ValueError, match="an AEAD key has 32 bytes"):
            primitives.aead(suite, bytes(size))


def test_random_bytes_differ() -> None:
    assert len({primitives.random_bytes(16) for _ in range(100)}) == 100
    assert len(primitives.random_bytes(7)) == 7


def test_equal_compares_contents_and_lengths() -> None:
    assert primitives.equal(b"abc", b"abc")
    assert not primitives.equal(b"abc", b"abd")
    assert not primitives.equal(b"abc", b"ab")
    assert not primitives.equal(b"", b"a")


# --- signatures ---

DIGEST = bytes(range(48))


def test_what_is_signed_begins_with_64_spaces_and_the_context() -> None:
    framed = primitives.signed_content(contexts.RELAY_VERIFY, DIGEST)
    assert framed == b" " * 64 + b"securerelay/1 relay certificate verify\0" + DIGEST


def test_a_pss_signature_holds_for_its_context_and_digest_alone() -> None:
    key = rsa_key()
    public = key.public_key()
    signature = primitives.sign_pss(key, contexts.RELAY_VERIFY, DIGEST)
    assert len(signature) == 256
    assert primitives.verify_pss(public, contexts.RELAY_VERIFY, DIGEST, signature)
    for context in set(contexts.SIGNING) - {contexts.RELAY_VERIFY}:
        assert not primitives.verify_pss(public, context, DIGEST, signature)
    assert not primitives.verify_pss(public, contexts.RELAY_VERIFY, DIGEST[::-1], signature)
    other = rsa_key(1).public_key()
    assert not primitives.verify_pss(other, contexts.RELAY_VERIFY, DIGEST, signature)
    for wrong in (b"", bytes(256), b"\xff" * 256, signature[:-1], signature + b"\0", bytes(9999)):
        assert not primitives.verify_pss(public, contexts.RELAY_VERIFY, DIGEST, wrong)


@pytest.mark.parametrize(
    ("scheme", "algorithm"),
    [
        (padding.PSS(padding.MGF1(hashes.SHA384()), 32), hashes.SHA384()),
        (padding.PSS(padding.MGF1(hashes.SHA384()), 0), hashes.SHA384()),
        (padding.PSS(padding.MGF1(hashes.SHA256()), 48), hashes.SHA384()),
        (padding.PSS(padding.MGF1(hashes.SHA384()), 48), hashes.SHA256()),
        (padding.PKCS1v15(), hashes.SHA384()),
    ],
)
def test_a_signature_of_other_parameters_does_not_hold(
    scheme: padding.PSS | padding.PKCS1v15, algorithm: hashes.HashAlgorithm
) -> None:
    framed = primitives.signed_content(contexts.RELAY_VERIFY, DIGEST)
    signature = rsa_key().sign(framed, scheme, algorithm)
    public = rsa_key().public_key()
    assert not primitives.verify_pss(public, contexts.RELAY_VERIFY, DIGEST, signature)


def test_ed25519_is_that_of_rfc_8032() -> None:
    seed = HEX("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = HEX("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert primitives.ed25519_public(seed) == public
    signature = primitives.sign_ed25519(seed, contexts.ENROL_INVITATION, DIGEST)
    key = ed25519.Ed25519PublicKey.from_public_bytes(public)
    key.verify(signature, primitives.signed_content(contexts.ENROL_INVITATION, DIGEST))
    verify = primitives.verify_ed25519
    assert verify(public, contexts.ENROL_INVITATION, DIGEST, signature)
    assert not verify(public, contexts.ENROL_POSSESSION, DIGEST, signature)
    assert not verify(public, contexts.ENROL_INVITATION, DIGEST[::-1], signature)
    for wrong in (b"", bytes(64), signature[:-1], signature + b"\0"):
        assert not verify(public, contexts.ENROL_INVITATION, DIGEST, wrong)
    for other in (b"", bytes(31), bytes(32), bytes(33), b"\xff" * 32):
        assert not verify(other, contexts.ENROL_INVITATION, DIGEST, signature)


# --- RSA keys from elsewhere ---


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag, 0x82)) + size.to_bytes(2, "big") + content


def rsa_spki(modulus: int, exponent: int = 65537, algorithm: str = "2a864886f70d010101") -> bytes:
    """A SubjectPublicKeyInfo of any numbers, as canonical as they allow."""

    def integer(number: int) -> bytes:
        return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    oid = tlv(0x30, tlv(6, HEX(algorithm)) + HEX("0500"))
    return tlv(0x30, oid + tlv(3, b"\0" + tlv(0x30, integer(modulus) + integer(exponent))))


def test_an_rsa_key_is_read_in_its_one_form() -> None:
    public = rsa_key().public_key()
    der = primitives.spki(public)
    assert der == rsa_spki(public.public_numbers().n)
    assert primitives.load_rsa_spki(der) == public


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"not DER",
        bytes(300),
        primitives.spki(rsa_key().public_key())[:-1],
        primitives.spki(rsa_key().public_key()) + b"\0",
        rsa_spki(rsa_key().public_key().public_numbers().n, algorithm="2a864886f70d01010a"),
        rsa_spki(0),
        rsa_spki(1),
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1),
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_what_is_no_rsa_key_or_is_written_in_another_way_is_none(der: bytes) -> None:
    assert primitives.load_rsa_spki(der) is None


def test_a_key_without_the_null_of_rfc_3279_is_another_form() -> None:
    der = primitives.spki(rsa_key().public_key())
    inner = der[4:].replace(
        HEX("300d06092a864886f70d0101010500"), HEX("300b06092a864886f70d010101")
    )
    assert primitives.load_rsa_spki(tlv(0x30, inner)) is None


@given(st.binary(max_size=40), st.integers(0, 290))
def test_whatever_is_sent_for_a_key_never_raises(junk: bytes, position: int) -> None:
    der = primitives.spki(rsa_key().public_key())
    found = primitives.load_rsa_spki(der[:position] + junk + der[position + len(junk) :])
    if found is not None:
        primitives.is_strong_rsa(found, 2048, 4096)
        primitives.verify_pss(found, contexts.PEER_VERIFY, DIGEST, bytes(256))


def test_a_strong_key_has_enough_bits_not_too_many_and_the_usual_exponent() -> None:
    public = rsa_key().public_key()
    assert primitives.is_strong_rsa(public, 2048, 4096)
    assert not primitives.is_strong_rsa(public, 2049, 4096)
    assert not primitives.is_strong_rsa(public, 1024, 2047)
    three = rsa.RSAPublicNumbers(3, public.public_numbers().n).public_key()
    assert not primitives.is_strong_rsa(three, 2048, 4096)
