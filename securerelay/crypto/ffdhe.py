"""The group ``ffdhe3072`` of RFC 7919: finite-field Diffie-Hellman in 3,072 bits.

In a module of its own because ``cryptography`` announces the end of this algorithm with a warning
when it is imported; nobody who leaves the group off ever sees it.
"""

from __future__ import annotations

import warnings
from functools import cache

from securerelay.errors import RemoteError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cryptography.hazmat.primitives.asymmetric.dh import (
        DHParameterNumbers,
        DHParameters,
        DHPrivateKey,
        DHPublicNumbers,
    )

SIZE = 384
GENERATOR = 2
PRIME = int(
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF9"
    "7D2FE363630C75D8F681B202AEC4617AD3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935"
    "984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FB"
    "B96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61"
    "9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005C58EF1837D1683B2C6F34A26C1B2EFFA"
    "886B4238611FCFDCDE355B3B6519035BBC34F4DEF99C023861B46FC9D6E6C9077AD91D2691F7F7EE598CB0FAC186D91C"
    "AEFE130985139270B4130C93BC437944F4FD4452E2D74DD364F2E21E71F54BFF5CAE82AB9C9DF69EE86D2BC522363A0D"
    "ABC521979B0DEADA1DBF9A42D5C4484E0ABCD06BFA53DDEF3C1B20EE3FD59D7C25E41D2B66C62E37FFFFFFFFFFFFFFFF",
    16,
)
"""The safe prime of RFC 7919 appendix A.2."""


_NUMBERS = DHParameterNumbers(PRIME, GENERATOR)


@cache
def _parameters() -> DHParameters:
    return _NUMBERS.parameters()


class FfdheOffer:
    """A client's half.

    Args:
        private: given only where a vector fixes it.
    """

    __slots__ = ("_private", "share")

    def __init__(self, private: DHPrivateKey | None = None) -> None:
        self._private = private or _parameters().generate_private_key()
        self.share = self._private.public_key().public_numbers().y.to_bytes(SIZE, "big")

    def complete(self, share: bytes) -> bytes:
        """Return the number agreed on, left-padded with zeros to 384 bytes."""
        y = int.from_bytes(share, "big")
        if len(share) != SIZE or not 2 <= y <= PRIME - 2:
            raise RemoteError("bad-share", "ffdhe3072 needs 384 bytes of a number from 2 to p-2")
        try:
            public = DHPublicNumbers(y, _NUMBERS).public_key()
            return self._private.exchange(public).rjust(SIZE, b"\0")
        except ValueError as error:  # the library has checks of its own
            raise RemoteError("bad-share", "an ffdhe3072 share that agrees on nothing") from error


def answer(share: bytes) -> tuple[bytes, bytes]:
    """Return the relay's share and Z, 384 bytes each."""
    offer = FfdheOffer()
    return offer.share, offer.complete(share)
