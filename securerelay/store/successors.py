"""Which certificate may follow a peer's present one, so that the peer gets another key.

A certificate for the next key is issued while the present one stays; whoever then proves that key
with it makes the change.  So nothing is lost with a reply: until the next key was used the present
one counts, and from then on only the next.

What may follow is what the present key asked for.  So a certificate goes to the end of its peer's
when it takes the place of another: what the key before had asked for besides, perhaps in the hand
of a thief, then stands before it and leads nowhere, nor does any key that was in use before.
"""

from __future__ import annotations

from collections.abc import Sequence

from securerelay.errors import Refused
from securerelay.store.rows import CertificateRow, PeerRow

DAY = 86_400_000
MOST = 4
"""Certificates for next keys that a peer gets in a day; each is a leaf of the key log for ever."""


def issued_before(
    peer: PeerRow, rows: Sequence[CertificateRow], spki: bytes, now: int
) -> CertificateRow | None:
    """Look for the certificate that a key has already, and refuse a key that may have none.

    Args:
        peer: whose key it shall be.
        rows: all certificates of that peer, in order.
        spki: the key, SubjectPublicKeyInfo in DER.
        now: Unix ms.

    Returns:
        The newest that has not expired and is present, or may follow; None if one may be issued.

    Raises:
        Refused: ``revoked`` if the name has ended, ``key-used`` for a key that another followed,
            ``too-many`` if there were too many lately.
    """
    before, later = _split(peer, rows)
    for row in (*reversed(later), peer.certificate):
        if row.spki == spki and row.not_after > now:
            return row
    if any(row.spki == spki for row in before) and spki != peer.certificate.spki:
        raise Refused("key-used", "this key was in use before: make a new one")
    if sum(row.spki != peer.certificate.spki and row.issued > now - DAY for row in rows) >= MOST:
        raise Refused("too-many", "too many new keys for one day")
    return None


def follows(peer: PeerRow, rows: Sequence[CertificateRow], sha256: bytes) -> CertificateRow:
    """Return the certificate that may take the place of the present one.

    Args:
        peer: whose.
        rows: all certificates of that peer, in order.
        sha256: of the certificate in question.

    Raises:
        Refused: ``revoked`` if it may not.
    """
    for row in _split(peer, rows)[1]:
        if row.sha256 == sha256:
            return row
    raise Refused("revoked", "another key than the directory has")


def _split(
    peer: PeerRow, rows: Sequence[CertificateRow]
) -> tuple[Sequence[CertificateRow], Sequence[CertificateRow]]:
    if peer.state != "active":
        raise Refused("revoked", peer.name)
    at = next(at for at, row in enumerate(rows) if row.spki == peer.certificate.spki)
    return rows[:at], rows[at + 1 :]
