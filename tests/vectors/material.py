"""Private keys from the bytes that vectors have for them."""

from __future__ import annotations

import warnings
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from securerelay.crypto import ffdhe
from securerelay.crypto.groups import HybridOffer, Offer, RsaOaepOffer, X25519Offer


def private_of(group: str, seed: bytes) -> Any:
    """Return a private key as the independent implementation takes it.

    Args:
        group: its name.
        seed: 32 bytes for x25519; 64 of ML-KEM and 32 of X25519 for the hybrid; a number of 384
            bytes for ffdhe3072; PKCS#8 for rsa3072-oaep.
    """
    if group == "ffdhe3072":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cryptography.hazmat.primitives.asymmetric import dh

            number = int.from_bytes(seed, "big")
            numbers = dh.DHParameterNumbers(ffdhe.PRIME, ffdhe.GENERATOR)
            public = dh.DHPublicNumbers(pow(ffdhe.GENERATOR, number, ffdhe.PRIME), numbers)
            return dh.DHPrivateNumbers(number, public).private_key()
    if group == "rsa3072-oaep":
        key = serialization.load_der_private_key(seed, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    return seed


def offer_of(group: str, seed: bytes) -> Offer:
    """Return the package's half of an exchange with this private key."""
    private = private_of(group, seed)
    if group == "ffdhe3072":
        return ffdhe.FfdheOffer(private)
    if group == "rsa3072-oaep":
        return RsaOaepOffer(private)
    curve = X25519Offer(x25519.X25519PrivateKey.from_private_bytes(seed[-32:]))
    if group == "x25519":
        return curve
    return HybridOffer(MLKEM768PrivateKey.from_seed_bytes(seed[:64]), curve)
