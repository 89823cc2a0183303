"""Known answers and boundary cases through our own wrappers.

What no document gives in our parameters is compared with a second implementation: the standard
library's HMAC, the ``openssl`` program, or FIPS 203 written down in :mod:`tests.crypto.mlkem`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS, HybridOffer, Rsa3072Oaep, RsaOaepOffer, X25519Offer
from securerelay.errors import RemoteError
from tests import keys
from tests.crypto import mlkem

FOLDER = Path(__file__).parent / "known_answers"
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")


def answers(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def cases(name: str, field: str = "cases") -> list[list[str]]:
    found: list[list[str]] = answers(name)[field]
    return found


def curve(private: bytes, public: bytes) -> bytes:
    key = x25519.X25519PrivateKey.from_private_bytes(private)
    return X25519Offer(key).complete(public)


# --- X25519 ---


@pytest.mark.parametrize(("private", "public", "product"), cases("x25519", "products"))
def test_x25519(private: str, public: str, product: str) -> None:
    assert curve(bytes.fromhex(private), bytes.fromhex(public)).hex() == product


def test_x25519_a_thousand_times() -> None:
    k = u = (9).to_bytes(32, "little")
    expected = answers("x25519")["iterated"]
    for count in range(1, 1001):
        k, u = curve(k, u), k
        if str(count) in expected:
            assert k.hex() == expected[str(count)]


P = 2**255 - 19


@pytest.mark.parametrize(
    "u",
    [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P - 1,
        P,
        P + 1,
    ],
)
@pytest.mark.parametrize("high", [0, 1 << 255])
def test_x25519_refuses_every_point_of_low_order(u: int, high: int) -> None:
    point = (u + high).to_bytes(32, "little")
    with pytest.raises(RemoteError, match="bad-share"):
        curve(bytes(range(32)), point)
    with pytest.raises(RemoteError, match="bad-share"):
        GROUPS["x25519"].answer(point)


def test_x25519_ignores_the_highest_bit_and_reduces() -> None:
    private, point = bytes(range(32)), (9).to_bytes(32, "little")
    expected = curve(private, point)
    assert curve(private, (9 + (1 << 255)).to_bytes(32, "little")) == expected
    assert curve(private, (P + 9).to_bytes(32, "little")) == expected


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_x25519_takes_32_bytes(size: int) -> None:
    with pytest.raises(RemoteError, match="bad-share"):
        curve(bytes(range(32)), b"\x09" * size)


# --- ML-KEM-768 ---


def hybrid(seed: bytes) -> HybridOffer:
    curve_ = X25519Offer(x25519.X25519PrivateKey.from_private_bytes(bytes(range(32))))
    return HybridOffer(MLKEM768PrivateKey.from_seed_bytes(seed), curve_)


@pytest.mark.parametrize("number", range(4))
def test_mlkem_agrees_with_fips_203_written_down(number: int) -> None:
    seed = hashlib.shake_256(b"seed %d" % number).digest(64)
    offer = hybrid(seed)
    ek, dk = mlkem.key_pair(seed[:32], seed[32:])
    assert offer.share[:1184] == ek
    share, z = GROUPS["x25519mlkem768"].answer(offer.share)
    assert mlkem.decapsulate(dk, share[:1088]) == z[:32]
    message = hashlib.sha256(seed).digest()
    secret, ciphertext = mlkem.encapsulate(ek, message)
    assert offer.complete(ciphertext + share[1088:]) == secret + z[32:]


@pytest.mark.parametrize("at", [0, 500, 959, 960, 1087])
def test_mlkem_gives_another_secret_for_an_altered_ciphertext_and_never_complains(at: int) -> None:
    seed = bytes(range(64))
    offer, (ek, dk) = hybrid(seed), mlkem.key_pair(seed[:32], seed[32:])
    _, ciphertext = mlkem.encapsulate(ek, bytes(32))
    wrong = bytearray(ciphertext)
    wrong[at] ^= 1
    rejected = hashlib.shake_256(seed[32:] + wrong).digest(32)
    assert mlkem.decapsulate(dk, bytes(wrong)) == rejected
    assert offer.complete(bytes(wrong) + (9).to_bytes(32, "little"))[:32] == rejected


@pytest.mark.parametrize("value", [3329, 3330, 4095])
@pytest.mark.parametrize("at", [0, 1, 255, 511, 767])
def test_mlkem_refuses_a_key_that_is_not_reduced(at: int, value: int) -> None:
    ek = bytearray(hybrid(bytes(64)).share)
    number = int.from_bytes(ek[:1152], "little")
    number = number & ~(0xFFF << 12 * at) | value << 12 * at
    ek[:1152] = number.to_bytes(1152, "little")
    with pytest.raises(RemoteError, match="bad-share"):
        GROUPS["x25519mlkem768"].answer(bytes(ek))


@pytest.mark.parametrize("size", [0, 32, 1184, 1215, 1217])
def test_hybrid_shares_have_one_length(size: int) -> None:
    with pytest.raises(RemoteError, match="bad-share"):
        GROUPS["x25519mlkem768"].answer((hybrid(bytes(64)).share * 2)[:size])


@pytest.mark.parametrize("size", [0, 1088, 1119, 1121])
def test_hybrid_answers_have_one_length(size: int) -> None:
    with pytest.raises(RemoteError, match="bad-share"):
        hybrid(bytes(64)).complete(bytes(size))


# --- AEAD ---


@pytest.mark.parametrize(("suite", "key", "nonce", "aad", "plain", "sealed"), cases("aead"))
def test_aead(suite: str, key: str, nonce: str, aad: str, plain: str, sealed: str) -> None:
    cipher = primitives.aead(suite, bytes.fromhex(key))
    parts = [bytes.fromhex(part) for part in (nonce, plain, aad)]
    expected = bytes.fromhex(sealed)
    assert primitives.seal(cipher, *parts) == expected
    assert primitives.unseal(cipher, parts[0], expected, parts[2]) == parts[1]
    for bit in range(0, len(expected) * 8, 7):
        wrong = bytearray(expected)
        wrong[bit // 8] ^= 1 << bit % 8
        assert primitives.unseal(cipher, parts[0], bytes(wrong), parts[2]) is None
    for size in (0, 1, 15, len(expected) - 1):
        assert primitives.unseal(cipher, parts[0], expected[:size], parts[2]) is None
    assert primitives.unseal(cipher, parts[0], expected, parts[2] + b"\0") is None
    assert primitives.unseal(cipher, bytes(12)[1:] + b"\1", expected, parts[2]) is None


# --- HKDF ---


@pytest.mark.parametrize(("secret", "salt", "info", "result"), cases("hkdf"))
def test_hkdf_with_sha_256(secret: str, salt: str, info: str, result: str) -> None:
    parts = [bytes.fromhex(part) for part in (secret, salt, info)]
    expected = bytes.fromhex(result)
    assert primitives.hkdf256(*parts, len(expected)) == expected


@pytest.mark.parametrize(("secret", "salt", "info", "result"), cases("hkdf"))
def test_hkdf_with_sha_384_is_what_its_definition_says(
    secret: str, salt: str, info: str, result: str
) -> None:
    key = hmac.digest(bytes.fromhex(salt) or bytes(48), bytes.fromhex(secret), "sha384")
    assert primitives.hkdf_extract(bytes.fromhex(salt) or bytes(48), bytes.fromhex(secret)) == key
    block, blocks = b"", b""
    for number in range(1, 256):
        block = hmac.digest(key, block + bytes.fromhex(info) + bytes([number]), "sha384")
        blocks += block
    for size in (1, 12, 16, 32, 47, 48, 49, 96, 255 * 48):
        assert primitives.hkdf_expand(key, bytes.fromhex(info), size) == blocks[:size]


# --- Ed25519 ---

L = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("seed", "public", "message", "signature"), cases("ed25519"))
def test_ed25519_keys_and_the_library_under_them(
    seed: str, public: str, message: str, signature: str
) -> None:
    assert primitives.ed25519_public(bytes.fromhex(seed)).hex() == public
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    assert key.sign(bytes.fromhex(message)).hex() == signature


def test_ed25519_refuses_what_is_no_signature() -> None:
    seed, context, digest = bytes(range(32)), contexts.ENROL_INVITATION, bytes(48)
    public = primitives.ed25519_public(seed)
    good = primitives.sign_ed25519(seed, context, digest)
    assert primitives.verify_ed25519(public, context, digest, good)
    s = int.from_bytes(good[32:], "little")
    again = good[:32] + (s + L).to_bytes(32, "little")  # the same modulo L: malleable elsewhere
    small = bytes([1]) + bytes(31)  # the neutral element
    for key, signature in (
        (public, again),
        (public, good[:-1]),
        (public, good + b"\0"),
        (public, b""),
        (public, bytes(64)),
        (public, good[32:] + good[:32]),
        (bytes(32), good),
        (b"\xff" * 32, good),
        (public[:-1], good),
        (primitives.ed25519_public(bytes(32)), good),
        (small, bytes(64)),
    ):
        assert not primitives.verify_ed25519(key, context, digest, signature)
    assert not primitives.verify_ed25519(public, contexts.ENROL_POSSESSION, digest, good)
    assert not primitives.verify_ed25519(public, context, bytes(47) + b"\1", good)


# --- RSA ---


def openssl(*words: str | Path, data: bytes = b"") -> bytes:
    assert OPENSSL is not None
    done = subprocess.run([OPENSSL, *map(str, words)], input=data, capture_output=True, check=True)
    return done.stdout


def pem(folder: Path, key: rsa.RSAPrivateKey) -> tuple[Path, Path]:
    """Write a private and a public key file."""
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(openssl("pkey", "-in", private, "-pubout"))
    return private, public


PSS_OPTIONS = ("-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_mgf1_md:sha384")


@needs_openssl
def test_openssl_verifies_our_pss_and_we_verify_openssls(tmp_path: Path) -> None:
    key, digest = keys.rsa_key(2048, 1), bytes(range(48))
    private, public = pem(tmp_path, key)
    content = primitives.signed_content(contexts.PEER_VERIFY, digest)
    ours = tmp_path / "signature"
    ours.write_bytes(primitives.sign_pss(key, contexts.PEER_VERIFY, digest))
    salt = ("-sigopt", "rsa_pss_saltlen:48")
    said = openssl("dgst", *PSS_OPTIONS, *salt, "-verify", public, "-signature", ours, data=content)
    assert said == b"Verified OK\n"
    for length, taken in (("48", True), ("32", False), ("0", False), ("max", False)):
        theirs = openssl(
            "dgst",
            *PSS_OPTIONS,
            "-sigopt",
            f"rsa_pss_saltlen:{length}",
            "-sign",
            private,
            data=content,
        )
        verified = primitives.verify_pss(key.public_key(), contexts.PEER_VERIFY, digest, theirs)
        assert verified == taken, length


def test_pss_refuses_what_is_no_signature() -> None:
    key, context, digest = keys.rsa_key(2048, 1), contexts.PEER_VERIFY, bytes(48)
    public, good = key.public_key(), primitives.sign_pss(key, contexts.PEER_VERIFY, bytes(48))
    n = public.public_numbers().n
    content = primitives.signed_content(context, digest)
    one, sha = hashes.SHA384(), hashes.SHA256()
    wrong = [
        b"",
        bytes(256),
        bytes(255) + b"\1",
        good[:-1],
        good + b"\0",
        b"\0" + good,
        (n - 1).to_bytes(256, "big"),
        n.to_bytes(256, "big"),
        ((int.from_bytes(good, "big") + n) % (1 << 2048)).to_bytes(256, "big"),
        b"\xff" * 256,
        key.sign(content, padding.PKCS1v15(), one),
        key.sign(content, padding.PSS(padding.MGF1(sha), 48), one),
        key.sign(content, padding.PSS(padding.MGF1(one), 47), one),
        key.sign(content, padding.PSS(padding.MGF1(one), padding.PSS.MAX_LENGTH), one),
        key.sign(content, primitives.PSS, sha),
        primitives.sign_pss(key, contexts.RELAY_VERIFY, digest),
        primitives.sign_pss(keys.rsa_key(2048, 2), context, digest),
    ]
    assert primitives.verify_pss(public, context, digest, good)
    for signature in wrong:
        assert not primitives.verify_pss(public, context, digest, signature)


OAEP_OPTIONS = (
    *("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha384"),
    *("-pkeyopt", "rsa_mgf1_md:sha384"),
)
LABEL = ("-pkeyopt", f"rsa_oaep_label:{contexts.OAEP_LABEL.hex()}")


@needs_openssl
def test_openssl_opens_our_oaep_and_we_open_openssls(tmp_path: Path) -> None:
    key = keys.rsa_key(3072)
    private, public = pem(tmp_path, key)
    offer = RsaOaepOffer(key)
    share, z = Rsa3072Oaep().answer(offer.share)
    opened = openssl("pkeyutl", "-decrypt", "-inkey", private, *OAEP_OPTIONS, *LABEL, data=share)
    assert opened == z

    def sealed(secret: bytes, *options: str) -> bytes:
        return openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, *options, data=secret)

    assert offer.complete(sealed(bytes(48), *OAEP_OPTIONS, *LABEL)) == bytes(48)
    for wrong in (
        sealed(bytes(48), *OAEP_OPTIONS),  # no label
        sealed(bytes(48), *OAEP_OPTIONS, "-pkeyopt", "rsa_oaep_label:00"),
        sealed(bytes(48), "-pkeyopt", "rsa_padding_mode:oaep"),  # SHA-1
        sealed(bytes(48), "-pkeyopt", "rsa_padding_mode:pkcs1"),
        sealed(bytes(47), *OAEP_OPTIONS, *LABEL),
        sealed(bytes(49), *OAEP_OPTIONS, *LABEL),
        sealed(b"", *OAEP_OPTIONS, *LABEL),
        bytes(384),
        b"\xff" * 384,
        share[:-1],
        share + b"\0",
        b"",
    ):
        with pytest.raises(RemoteError, match="bad-share"):
            offer.complete(wrong)
