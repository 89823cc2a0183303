"""Bundles: the certificate, message key and prekey of a peer, signed by its identity key.

A sender reads a bundle (:func:`read`), holds it against the pin (:mod:`.pins`) and then asks
whether to seal with it (:func:`check_current`), in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, hpke, primitives
from securerelay.errors import CertificateError
from securerelay.identity import certificates
from securerelay.protocol.items import Field, Form, encode_item, exactly, number, u64
from securerelay.protocol.sealed import DIRECT, SUITES
from securerelay.sealing import succession
from securerelay.sealing.fingerprint import MESSAGE_KEY_SIZE, Identity, sign_as_identity
from securerelay.sealing.prekeys import prekey_id
from securerelay.sealing.succession import Succession
from securerelay.sealing.verdicts import Rejected, Verdict, require
from securerelay.sealing.verdicts import read as read_form

VERSION = 1
LIFE = 30 * 86_400_000
"""Milliseconds from ``issued`` to ``expires``."""
FRESH = 3_600_000
"""Milliseconds after which a bundle is fetched again before it is sealed with."""
MAX_SIZE = 12_288
"""Bytes of the largest bundle."""

_VERSION, _RELAY_ID, _NAME, _CERTIFICATE, _MESSAGE_KEY, _NUMBER = range(0x01, 0x07)
_ISSUED, _EXPIRES, _PREKEY, _SUITES, _SUCCESSIONS = range(0x07, 0x0C)
_SIGNATURE = 0x1F
_FORM = Form(
    {
        _VERSION: exactly(1),
        _RELAY_ID: exactly(32),
        _NAME: Field(1, 32),
        _CERTIFICATE: Field(1, certificates.MAX_SIZE),
        _MESSAGE_KEY: exactly(MESSAGE_KEY_SIZE),
        _NUMBER: number(),
        _ISSUED: number(),
        _EXPIRES: number(),
        _PREKEY: exactly(hpke.PUBLIC_SIZE),
        _SUITES: Field(1, 16),
        _SUCCESSIONS: Field(1, succession.MAX_SIZE, optional=True),
        _SIGNATURE: Field(256, 512),
    },
    signature=_SIGNATURE,
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature, certificate and keys were found good.

    Attributes:
        raw: the bundle as it came.
        identity: whose it is.
        certificate: in DER.
        number: rises with every bundle of a peer.
        issued: Unix ms.
        expires: Unix ms.
        prekey: 1216 bytes.
        key: the prekey, loaded.
        successions: oldest first.
    """

    raw: bytes = field(repr=False)
    identity: Identity
    certificate: bytes = field(repr=False)
    number: int
    issued: int
    expires: int
    prekey: bytes = field(repr=False)
    key: hpke.PublicKey = field(repr=False, compare=False)
    successions: tuple[Succession, ...]

    @property
    def prekey_id(self) -> bytes:
        """The id of the prekey, 8 bytes."""
        return prekey_id(self.prekey)


def next_number(last: int, now: int) -> int:
    """Return the number of a new bundle.

    Args:
        last: the highest of our own, at the relay or here; 0 for none.
        now: Unix ms.
    """
    return max(last + 1, now)


def build(
    key: rsa.RSAPrivateKey,
    identity: Identity,
    certificate: bytes,
    *,
    number: int,
    issued: int,
    prekey: bytes,
    successions: Sequence[bytes] = (),
) -> bytes:
    """Return a bundle.

    Args:
        key: the identity key.
        identity: its owner.
        certificate: in DER.
        number: from :func:`next_number`.
        issued: Unix ms.
        prekey: the public half, 1216 bytes.
        successions: from :func:`securerelay.sealing.succession.build`, oldest first; the newest
            four are told.
    """
    values = {
        _VERSION: bytes((VERSION,)),
        _RELAY_ID: identity.relay_id,
        _NAME: identity.name.encode("ascii"),
        _CERTIFICATE: certificate,
        _MESSAGE_KEY: identity.message_key,
        _NUMBER: u64(number),
        _ISSUED: u64(issued),
        _EXPIRES: u64(issued + LIFE),
        _PREKEY: prekey,
        _SUITES: bytes(SUITES),
    }
    if successions:
        values[_SUCCESSIONS] = b"".join(successions[-succession.MOST :])
    unsigned = _FORM.write(values)
    signature = sign_as_identity(key, contexts.E2E_BUNDLE, unsigned)
    return unsigned + encode_item(_SIGNATURE, signature)


def read(raw: bytes, name: str, ca_spki: bytes) -> Bundle:
    """Read a bundle and check everything that depends on nothing but itself.

    An expired one is fine here: its keys still verify what was signed.

    Args:
        raw: as the relay served it.
        name: whose bundle was asked for.
        ca_spki: the key of the relay's authority, SubjectPublicKeyInfo in DER.

    Raises:
        Rejected: ``bundle-bad``.
    """
    require(len(raw) <= MAX_SIZE, Verdict.BUNDLE_BAD, f"a bundle of {len(raw)} bytes")
    items = read_form(_FORM, raw, Verdict.BUNDLE_BAD)
    values = items.values
    number, issued, expires = map(items.number, (_NUMBER, _ISSUED, _EXPIRES))
    relay_id = primitives.sha256(ca_spki)
    _require(values[_VERSION] == bytes((VERSION,)), "of another version")
    _require(values[_RELAY_ID] == relay_id, "of another relay")
    _require(values[_NAME] == name.encode("ascii"), "of somebody else")
    spki = _check_certificate(values[_CERTIFICATE], name, ca_spki, issued)
    _require(expires == issued + LIFE, "with another life than 30 days")
    _require(DIRECT in values[_SUITES], "without a suite that we know")
    try:
        key = hpke.load_public(values[_PREKEY])
    except ValueError as error:
        raise Rejected(Verdict.BUNDLE_BAD, f"prekey: {error}") from None
    successions = succession.read_all(values.get(_SUCCESSIONS, b""), relay_id, name)
    identity = Identity(relay_id, name, spki, values[_MESSAGE_KEY])
    _require(
        identity.signed_as_identity(contexts.E2E_BUNDLE, items.signed, values[_SIGNATURE]),
        "whose signature does not verify",
    )
    return Bundle(
        raw,
        identity,
        values[_CERTIFICATE],
        number,
        issued,
        expires,
        values[_PREKEY],
        key,
        successions,
    )


def check_current(
    served: Bundle, pinned: bytes, stored: Bundle | None, heard: int, now: int
) -> None:
    """Check whether a bundle that was read may be sealed with, and kept in the place of the last.

    Args:
        served: what the relay serves.
        pinned: the fingerprint of the peer's pin, 32 bytes.
        stored: the last one that passed here.
        heard: the highest number that a bundle or message of this peer told.
        now: Unix ms.

    Raises:
        Rejected: ``key-changed``, ``peer-away``, ``bundle-rollback``, ``bundle-conflict`` or
            ``bundle-withheld``; the stored one then stays.
    """
    require(served.identity.fp == pinned, Verdict.KEY_CHANGED, "not the pinned fingerprint")
    require(now < served.expires, Verdict.PEER_AWAY, f"expired at {served.expires}")
    if stored is not None:
        require(
            served.number >= stored.number,
            Verdict.BUNDLE_ROLLBACK,
            f"number {served.number} after {stored.number}",
        )
        require(
            served.number > stored.number or served.raw == stored.raw,
            Verdict.BUNDLE_CONFLICT,
            f"two bundles with number {served.number}",
        )
    require(
        served.number >= heard,
        Verdict.BUNDLE_WITHHELD,
        f"number {served.number}; its owner told {heard}",
    )


def _check_certificate(der: bytes, name: str, ca_spki: bytes, issued: int) -> bytes:
    authority = primitives.load_rsa_spki(ca_spki)
    if authority is None:
        raise ValueError("the authority's key is not RSA")
    try:
        peer = certificates.check_peer(authority, der)
    except CertificateError as error:
        raise Rejected(Verdict.BUNDLE_BAD, error.detail) from None
    _require(peer.name == name, "with somebody else's certificate")
    begin, end = peer.not_before.timestamp(), peer.not_after.timestamp()
    _require(begin * 1000 <= issued <= end * 1000, "issued outside its certificate's life")
    return peer.spki


def _require(holds: bool, otherwise: str) -> None:
    require(holds, Verdict.BUNDLE_BAD, f"a bundle {otherwise}")
