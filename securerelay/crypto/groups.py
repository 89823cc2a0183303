"""The key-exchange groups: one small class each, and one table (SR1 section 3, *Groups*).

A client *offers*: it makes an ephemeral private half and a share.  The relay *answers*: from the
client's share it makes its own share and the common secret Z in one step, as with any KEM.  The
client *completes* with the relay's share.  A share that breaks a rule raises ``bad-share``; an
ephemeral serves once.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from securerelay.crypto import contexts, primitives
from securerelay.errors import RemoteError

_MLKEM_PUBLIC = 1184
_MLKEM_CIPHERTEXT = 1088
_X25519 = 32


class Offer(Protocol):
    """A client's half of one exchange."""

    share: bytes
    """What goes to the relay."""

    def complete(self, share: bytes) -> bytes:
        """Return Z from the relay's share; raises ``bad-share``."""


class Group(Protocol):
    """One way to agree on a secret."""

    name: ClassVar[str]

    def offer(self) -> Offer:
        """Make a fresh ephemeral for a client."""

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        """Return the relay's share and Z for a client's share; raises ``bad-share``."""


def _bad(detail: str) -> RemoteError:
    return RemoteError("bad-share", detail)


def _x25519_shared(private: x25519.X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(x25519.X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # the result is all zero (RFC 7748 section 6.1)
        raise _bad("not an X25519 share, or one of low order") from error


class X25519Offer:
    """A client's X25519 half.

    Args:
        private: given only where a vector fixes it.
    """

    __slots__ = ("_private", "share")

    def __init__(self, private: x25519.X25519PrivateKey | None = None) -> None:
        self._private = private or x25519.X25519PrivateKey.generate()
        self.share = self._private.public_key().public_bytes_raw()

    def complete(self, share: bytes) -> bytes:
        """Return the 32 bytes agreed on."""
        return _x25519_shared(self._private, share)


class X25519:
    """Curve25519 alone (RFC 7748): for relays that cannot yet do better; off unless configured."""

    name: ClassVar[str] = "x25519"

    def offer(self) -> Offer:
        """Make a fresh ephemeral for a client."""
        return X25519Offer()

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        """Return the relay's share (32 bytes) and Z (32 bytes)."""
        private = x25519.X25519PrivateKey.generate()
        secret = _x25519_shared(private, share)
        return private.public_key().public_bytes_raw(), secret


class HybridOffer:
    """A client's hybrid half: an ML-KEM-768 key pair and an X25519 one.

    Args:
        kem: given only where a vector fixes it.
        curve: likewise.
    """

    __slots__ = ("_curve", "_kem", "share")

    def __init__(
        self, kem: MLKEM768PrivateKey | None = None, curve: X25519Offer | None = None
    ) -> None:
        self._kem = kem or MLKEM768PrivateKey.generate()
        self._curve = curve or X25519Offer()
        self.share = self._kem.public_key().public_bytes_raw() + self._curve.share

    def complete(self, share: bytes) -> bytes:
        """Return Z: the 32 bytes of ML-KEM, then the 32 of X25519."""
        if len(share) != _MLKEM_CIPHERTEXT + _X25519:
            raise _bad("a relay's hybrid share has 1120 bytes")
        secret = self._kem.decapsulate(share[:_MLKEM_CIPHERTEXT])
        return secret + self._curve.complete(share[_MLKEM_CIPHERTEXT:])


class X25519MLKEM768:
    """The default and the floor: safe while either half holds (FIPS 203 and RFC 7748)."""

    name: ClassVar[str] = "x25519mlkem768"

    def offer(self) -> Offer:
        """Make a fresh ephemeral for a client."""
        return HybridOffer()

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        """Return the relay's share (1,120 bytes) and Z (64 bytes)."""
        try:
            key = MLKEM768PublicKey.from_public_bytes(share[:_MLKEM_PUBLIC])
        except ValueError as error:  # a coefficient out of range (FIPS 203 section 7.2)
            raise _bad("not an ML-KEM-768 encapsulation key") from error
        curve, shared = X25519().answer(share[_MLKEM_PUBLIC:])
        secret, ciphertext = key.encapsulate()
        return ciphertext + curve, secret + shared


class RsaOaepOffer:
    """A client's RSA half: a key made for this connection alone.

    Args:
        private: given only where a vector fixes it.
    """

    __slots__ = ("_private", "share")

    def __init__(self, private: rsa.RSAPrivateKey | None = None) -> None:
        self._private = private or rsa.generate_private_key(65537, Rsa3072Oaep.BITS)
        self.share = primitives.spki(self._private.public_key())

    def complete(self, share: bytes) -> bytes:
        """Return the 48 bytes that the relay chose."""
        try:
            secret = self._private.decrypt(share, Rsa3072Oaep.PADDING)
        except ValueError as error:
            raise _bad("an RSA-OAEP share that does not open") from error
        if len(secret) != Rsa3072Oaep.SECRET:
            raise _bad("an RSA-OAEP share carries 48 bytes")
        return secret


class Rsa3072Oaep:
    """The relay sends a secret under an RSA key that the client made for this connection.

    RFC 4432's exchange turned round: a stranger can then not make the relay generate RSA keys.
    Off unless configured.
    """

    name: ClassVar[str] = "rsa3072-oaep"
    BITS: ClassVar[int] = 3072
    SECRET: ClassVar[int] = 48
    PADDING: ClassVar[padding.OAEP] = padding.OAEP(
        padding.MGF1(hashes.SHA384()), hashes.SHA384(), contexts.OAEP_LABEL
    )

    def offer(self) -> Offer:
        """Make a fresh ephemeral for a client."""
        return RsaOaepOffer()

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        """Return the relay's share (384 bytes) and Z (48 bytes)."""
        key = primitives.load_rsa_spki(share)
        if key is None or not primitives.is_strong_rsa(key, self.BITS, self.BITS):
            raise _bad("not an RSA key of 3072 bits with exponent 65537")
        secret = primitives.random_bytes(self.SECRET)
        try:
            return key.encrypt(secret, self.PADDING), secret
        except ValueError as error:  # an even modulus
            raise _bad("not an RSA modulus") from error


class _FiniteField:
    """Finite-field Diffie-Hellman; its module is imported at the first use, for it warns."""

    name: ClassVar[str] = "ffdhe3072"

    def offer(self) -> Offer:
        """Make a fresh ephemeral for a client."""
        from securerelay.crypto import ffdhe

        return ffdhe.FfdheOffer()

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        """Return the relay's share and Z, 384 bytes each."""
        from securerelay.crypto import ffdhe

        return ffdhe.answer(share)


_ORDER: tuple[Group, ...] = (X25519MLKEM768(), X25519(), _FiniteField(), Rsa3072Oaep())
GROUPS: dict[str, Group] = {group.name: group for group in _ORDER}
"""Every group by its name on the wire."""

DEFAULT_GROUPS = (X25519MLKEM768.name,)
"""What is permitted unless the configuration says otherwise."""
