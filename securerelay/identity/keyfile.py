"""Files that hold one RSA private key, plain or under a passphrase.

What is written is PKCS#8: plain as PEM, or wrapped by :mod:`securerelay.identity.container`.  PEM
files made by other programs, also encrypted ones, are read.
"""

from __future__ import annotations

import pathlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import KeyFileError, WrongPassphrase
from securerelay.identity import container
from securerelay.identity.certificates import LARGEST_KEY, SMALLEST_KEY

KEY_SIZES = (2048, 3072, 4096)
"""The sizes in bits of keys that we make."""

DEFAULT_SIZE = 3072

_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def generate_key(bits: int = DEFAULT_SIZE) -> rsa.RSAPrivateKey:
    """Make a key for a peer or a relay.

    Args:
        bits: one of :data:`KEY_SIZES`.

    Raises:
        KeyFileError: for another size.
    """
    if bits not in KEY_SIZES:
        raise KeyFileError(f"a key has 2048, 3072 or 4096 bits, not {bits}")
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def to_der(key: rsa.RSAPrivateKey) -> bytes:
    """Write a key as PKCS#8 in DER, unprotected."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def to_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Write a key as PKCS#8 in PEM, unprotected."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def save_key(
    path: pathlib.Path,
    key: rsa.RSAPrivateKey,
    passphrase: bytes | None = None,
    *,
    replace: bool = True,
) -> None:
    """Write a key to a file that only its owner can read.

    Args:
        path: the file.
        key: the key.
        passphrase: protects it; None to write it plain.
        replace: whether a file of that name may be replaced.

    Raises:
        LocalError: if the file cannot be written.
    """
    if passphrase is None:
        files.write_private(path, to_pem(key), replace=replace)
    else:
        files.write_private(path, container.wrap(to_der(key), passphrase), replace=replace)


def load_key(
    path: pathlib.Path, passphrase: bytes | None = None, *, ours: bool = False
) -> rsa.RSAPrivateKey:
    """Read a key from a file.

    Args:
        path: the file.
        passphrase: as given to :func:`save_key`; not looked at when the key is plain.
        ours: whether we wrote the file.  Its primes were tested then; that the key still works is
            seen in a hundredth of the time.

    Returns:
        An RSA key of 2048 to 4096 bits.

    Raises:
        WrongPassphrase: if the key is under another passphrase, or under one and none was given.
        KeyFileError: if there is no such key in the file.
        LocalError: if the file cannot be read or is open to others.
    """
    data = files.read_private(path)
    if needs_passphrase(data) and passphrase is None:
        raise WrongPassphrase(f"{path} is protected by a passphrase, and none was given")
    try:
        key = _read(data, passphrase, ours)
    except KeyFileError as error:
        raise type(error)(f"{path}: {error.message}") from None
    return key


def is_protected(path: pathlib.Path) -> bool:
    """Tell whether a key file can only be read with a passphrase.

    Raises:
        LocalError: if the file cannot be read or is open to others.
    """
    return needs_passphrase(files.read_private(path))


def needs_passphrase(data: bytes) -> bool:
    """Tell the same of the content of a key file."""
    return container.is_wrapped(data) or any(mark in data for mark in _ENCRYPTED)


def _read(data: bytes, passphrase: bytes | None, ours: bool) -> rsa.RSAPrivateKey:
    protected = needs_passphrase(data)
    try:
        if passphrase is not None and container.is_wrapped(data):
            key = serialization.load_der_private_key(
                container.unwrap(data, passphrase), None, unsafe_skip_rsa_key_validation=ours
            )
        else:
            secret = passphrase if protected else None
            key = serialization.load_pem_private_key(
                data, secret, unsafe_skip_rsa_key_validation=ours
            )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if protected:
            raise WrongPassphrase("the passphrase is wrong, or the file is damaged") from None
        raise KeyFileError("this is no private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or not primitives.is_strong_rsa(
        key.public_key(), SMALLEST_KEY, LARGEST_KEY
    ):
        raise KeyFileError("this is no RSA key of 2048 to 4096 bits")
    if ours and not _works(key):
        raise KeyFileError("this key does not work any more; the file is damaged")
    return key


def _works(key: rsa.RSAPrivateKey) -> bool:
    digest = bytes(48)
    try:
        signature = primitives.sign_pss(key, b"", digest)
    except ValueError:
        return False
    return primitives.verify_pss(key.public_key(), b"", digest, signature)
