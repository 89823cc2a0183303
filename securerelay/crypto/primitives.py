"""The only caller of ``cryptography`` for hashes, HKDF, AEAD and signatures.

Nothing here knows the protocol; each function does one thing with fixed parameters, so that none
can be used with the wrong ones: SHA-384, HKDF-SHA-384, RSA-PSS with SHA-384 and a 48-byte salt,
Ed25519, AES-256-GCM and ChaCha20-Poly1305 with 12-byte nonces.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.exceptions import InvalidTag as InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from securerelay.crypto import contexts

HASH_SIZE = 48
KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16

_SHA256 = hashes.SHA256()
_SHA384 = hashes.SHA384()
PSS = padding.PSS(mgf=padding.MGF1(_SHA384), salt_length=48)
"""The one set of PSS parameters, for signatures of the protocol and in certificates."""

Aead = AESGCM | ChaCha20Poly1305
_AEADS: dict[str, type[AESGCM] | type[ChaCha20Poly1305]] = {
    "aes256gcm": AESGCM,
    "chacha20poly1305": ChaCha20Poly1305,
}
SUITES = tuple(_AEADS)
"""The AEADs by their names on the wire, in our order of preference (SR1 section 2)."""


def random_bytes(count: int) -> bytes:
    """Return ``count`` bytes from the operating system's generator."""
    return os.urandom(count)


def equal(one: bytes, other: bytes) -> bool:
    """Compare two byte strings in time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of the parts joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def sha384(*parts: bytes) -> bytes:
    """Return the SHA-384 (48 bytes) of the parts joined."""
    return hashlib.sha384(b"".join(parts)).digest()


def hmac384(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-384 (48 bytes); RFC 2104."""
    mac = HMAC(key, _SHA384)
    mac.update(data)
    return mac.finalize()


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """Return HKDF-Extract with SHA-384 (48 bytes); RFC 5869 section 2.2."""
    return HKDF.extract(_SHA384, salt, secret)


def hkdf_expand(secret: bytes, info: bytes, length: int) -> bytes:
    """Return ``length`` bytes of HKDF-Expand with SHA-384; RFC 5869 section 2.3."""
    return HKDFExpand(_SHA384, length, info).derive(secret)


def hkdf256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return ``length`` bytes of HKDF, extract and expand, with SHA-256; RFC 5869 section 2.

    Args:
        secret: the input keying material.
        salt: as many bytes as there are; none is the same as 32 zeros.
        info: what the result is for.
        length: bytes wanted.
    """
    return HKDF(_SHA256, length, salt, info).derive(secret)


def expand_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """Derive one secret from another under a label: ``Label(secret, l, ctx, n)`` of SR1 section 3.

    Args:
        secret: 48 bytes.
        label: one of the labels in :mod:`securerelay.crypto.contexts`, without its prefix.
        context: at most 255 bytes, most often a transcript hash.
        length: bytes wanted.

    Returns:
        The derived secret.
    """
    full = contexts.LABEL_PREFIX + label
    info = length.to_bytes(2, "big") + b"%c%b%c%b" % (len(full), full, len(context), context)
    return HKDFExpand(_SHA384, length, info).derive(secret)


def aead(suite: str, key: bytes) -> Aead:
    """Return the AEAD of a suite under a key.

    Args:
        suite: a name from :data:`SUITES`.
        key: 32 bytes.
    """
    if len(key) != KEY_SIZE:
        raise ValueError("an AEAD key has 32 bytes")
    return _AEADS[suite](key)


def seal(cipher: Aead, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate; the nonce has 12 bytes, though AESGCM would take others."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError("an AEAD nonce has 12 bytes")
    return cipher.encrypt(nonce, plaintext, associated)


def unseal(cipher: Aead, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes | None:
    """Decrypt what :func:`seal` made; None if it does not open."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError("an AEAD nonce has 12 bytes")
    try:
        return cipher.decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        return None


def signed_content(context: bytes, content: bytes) -> bytes:
    """Frame what is signed, as RFC 8446 section 4.4.3: spaces, context, zero byte, content."""
    return b" " * 64 + context + b"\0" + content


def sign_pss(key: rsa.RSAPrivateKey, context: bytes, digest: bytes) -> bytes:
    """Sign a transcript hash under a context: ``SIG`` of SR1 section 3.

    Args:
        key: the signer's RSA key.
        context: a constant from :data:`securerelay.crypto.contexts.SIGNING`.
        digest: 48 bytes of transcript.

    Returns:
        The signature, as long as the modulus.
    """
    return key.sign(signed_content(context, digest), PSS, _SHA384)


def verify_pss(key: rsa.RSAPublicKey, context: bytes, digest: bytes, signature: bytes) -> bool:
    """Tell whether :func:`sign_pss` made this signature; never raises for a bad one."""
    try:
        key.verify(signature, signed_content(context, digest), PSS, _SHA384)
    except InvalidSignature:
        return False
    return True


Ed25519Key = ed25519.Ed25519PrivateKey


def load_ed25519(seed: bytes) -> Ed25519Key:
    """Return an Ed25519 private key, loaded once for many signatures, from its seed (32 bytes)."""
    return Ed25519Key.from_private_bytes(seed)


def ed25519_public(seed: bytes) -> bytes:
    """Return the public key (32 bytes) that belongs to an Ed25519 private seed (32 bytes)."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign_ed25519(key: bytes | Ed25519Key, context: bytes, digest: bytes) -> bytes:
    """Sign as :func:`sign_pss` does, with Ed25519 (RFC 8032).

    Args:
        key: a seed of 32 bytes, or the key that :func:`load_ed25519` made of it.
        context: a constant from :data:`securerelay.crypto.contexts.SIGNING`.
        digest: 48 bytes.

    Returns:
        The signature, 64 bytes.
    """
    if isinstance(key, bytes):
        key = load_ed25519(key)
    return key.sign(signed_content(context, digest))


def verify_ed25519(public: bytes, context: bytes, digest: bytes, signature: bytes) -> bool:
    """Tell whether :func:`sign_ed25519` made this signature; never raises for a bad one."""
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, signed_content(context, digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def spki(key: rsa.RSAPublicKey) -> bytes:
    """Return a public key as SubjectPublicKeyInfo in DER (RFC 5280 section 4.1)."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def load_rsa_spki(der: bytes) -> rsa.RSAPublicKey | None:
    """Read an RSA public key from SubjectPublicKeyInfo.

    Args:
        der: exactly one DER structure; what would not be written the same way again is refused.

    Returns:
        The key, or None if this is no RSA key.
    """
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, rsa.RSAPublicKey) or spki(key) != der:
        return None
    return key


def is_strong_rsa(key: rsa.RSAPublicKey, smallest: int, largest: int) -> bool:
    """Tell whether a modulus has ``smallest`` to ``largest`` bits and the exponent is 65537."""
    return smallest <= key.key_size <= largest and key.public_numbers().e == 65537
