"""The proof with which a peer gets a certificate for its next key (SR1 section 6).

The session is the old key's; the new key signs what names this one session, so that a proof says
nothing in any other.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, primitives
from securerelay.identity.certificates import LARGEST_KEY, SMALLEST_KEY
from securerelay.protocol.items import encode_items

_SESSION_ID, _NAME, _SPKI = range(0x01, 0x04)


def prove(key: rsa.RSAPrivateKey, session_id: bytes, name: str) -> bytes:
    """Return the proof.

    Args:
        key: the new one.
        session_id: of the session in which it is shown, 16 bytes.
        name: the peer's.
    """
    digest = _digest(session_id, name, primitives.spki(key.public_key()))
    return primitives.sign_pss(key, contexts.RENEW_POSSESSION, digest)


def proves(spki: bytes, proof: bytes, session_id: bytes, name: str) -> bool:
    """Tell whether a proof is one, by a key that a peer may have.

    Args:
        spki: the new key, SubjectPublicKeyInfo in DER.
        proof: as it came.
        session_id: of the session in which it came, 16 bytes.
        name: the peer's.
    """
    key = primitives.load_rsa_spki(spki)
    return (
        key is not None
        and primitives.is_strong_rsa(key, SMALLEST_KEY, LARGEST_KEY)
        and primitives.verify_pss(
            key, contexts.RENEW_POSSESSION, _digest(session_id, name, spki), proof
        )
    )


def _digest(session_id: bytes, name: str, spki: bytes) -> bytes:
    items = encode_items(((_SESSION_ID, session_id), (_NAME, name.encode("ascii")), (_SPKI, spki)))
    return primitives.sha384(items)
