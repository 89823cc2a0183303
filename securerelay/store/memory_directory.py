"""The directory, invitations and tickets of the store in memory."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from securerelay.crypto.primitives import sha256
from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store import successors
from securerelay.store.answers import answered
from securerelay.store.interface import KEPT
from securerelay.store.rows import (
    CertificateRow,
    Consumed,
    InvitationRow,
    LogKind,
    LogRow,
    PeerRow,
    Published,
    Redeemed,
    Revocation,
    TicketRow,
)


class MemoryDirectory:
    """Names, certificates, invitations, tickets and the key log, in dictionaries."""

    def __init__(self) -> None:
        self.is_open = False
        self._peers: dict[str, PeerRow] = {}
        self._certificates: list[CertificateRow] = []
        self._log: list[LogRow] = []
        self._bundles: dict[str, tuple[int, bytes, bytes]] = {}
        self._invitations: dict[bytes, InvitationRow] = {}
        self._tickets: dict[bytes, TicketRow] = {}

    @answered
    def lookup(self, name: str) -> PeerRow | None:
        return self._peers.get(name)

    @answered
    def peers(self) -> list[PeerRow]:
        return [self._peers[name] for name in sorted(self._peers)]

    @answered
    def issued(self, name: str | None = None) -> list[CertificateRow]:
        return [row for row in self._certificates if name in (None, row.name)]

    @answered
    def expiring(self, before: int) -> list[CertificateRow]:
        rows = (peer.certificate for peer in self._peers.values() if peer.state == "active")
        soon = (row for row in rows if row.not_after < before)
        return sorted(soon, key=lambda row: (row.not_after, row.name))

    @answered
    def renew(self, certificate: CertificateRow) -> PeerRow:
        peer = self._peers.get(certificate.name)
        if peer is None:
            raise Refused("unknown", certificate.name)
        if peer.state != "active" or peer.certificate.spki != certificate.spki:
            raise Refused("revoked", certificate.name)
        renewed = replace(peer, certificate=certificate)
        self._peers[peer.name] = renewed
        self._certificates.append(certificate)
        self._note("renewed", certificate.issued, renewed)
        self._kill_tickets(lambda ticket: ticket.name == peer.name)
        return renewed

    @answered
    def issue(self, certificate: CertificateRow) -> CertificateRow:
        peer = self._peers.get(certificate.name)
        if peer is None:
            raise Refused("unknown", certificate.name)
        rows = [row for row in self._certificates if row.name == peer.name]
        before = successors.issued_before(peer, rows, certificate.spki, certificate.issued)
        if before is not None:
            return before
        self._certificates.append(certificate)
        self._note("issued", certificate.issued, replace(peer, certificate=certificate))
        return certificate

    @answered
    def succeed(self, name: str, sha256: bytes) -> PeerRow:
        peer = self._peers.get(name)
        if peer is None:
            raise Refused("unknown", name)
        rows = [row for row in self._certificates if row.name == name]
        peer = replace(peer, certificate=successors.follows(peer, rows, sha256))
        self._peers[name] = peer
        self._certificates.remove(peer.certificate)
        self._certificates.append(peer.certificate)
        self._kill_tickets(lambda ticket: ticket.name == name)
        return peer

    @answered
    def revoke(self, name: str, now: int, *, closed: bool = False) -> int:
        peer = self._peers.get(name)
        if peer is None:
            raise Refused("unknown", name)
        if peer.state != "active":
            return peer.revision
        revision = 1 + max(row.revision for row in self._peers.values())
        state: Literal["revoked", "closed"] = "closed" if closed else "revoked"
        peer = replace(peer, state=state, ended=now, revision=revision)
        self._peers[name] = peer
        self._note(state, now, peer)
        self._kill_tickets(lambda ticket: ticket.name == name)
        for token, row in self._invitations.items():
            if row.name == name and row.state == "open":
                self._invitations[token] = replace(row, state="withdrawn")
        self._leave_rooms(name)
        return revision

    @answered
    def revocations(self, after: int) -> list[Revocation]:
        ended = (
            Revocation(peer.revision, peer.name, peer.ended)
            for peer in self._peers.values()
            if peer.ended is not None and peer.revision > after
        )
        return sorted(ended, key=lambda row: row.revision)

    @answered
    def key_log(self, start: int, limit: int) -> list[LogRow]:
        return self._log[start : start + limit]

    @answered
    def key_log_size(self) -> int:
        return len(self._log)

    @answered
    def publish(self, name: str, number: int, bundle: bytes, certificate_sha256: bytes) -> None:
        peer = self._peers.get(name)
        if peer is None:
            raise Refused("unknown", name)
        if peer.state != "active":
            raise Refused("revoked", name)
        if peer.certificate.sha256 != certificate_sha256:
            raise Refused("old-certificate", name)
        if name in self._bundles and number <= self._bundles[name][0]:
            raise Refused("stale", name)
        self._bundles[name] = number, bundle, certificate_sha256

    @answered
    def published(self, names: Sequence[str]) -> dict[str, Published]:
        return {name: self._published(name) for name in names if name in self._peers}

    def _published(self, name: str) -> Published:
        state = self._peers[name].state
        if name not in self._bundles:
            return Published(name, state)
        number, bundle, certificate = self._bundles[name]
        leaf = next(row for row in self._log if row.certificate_sha256 == certificate)
        return Published(name, state, number, bundle, leaf)

    @answered
    def invite(self, invitation: InvitationRow) -> None:
        self._check_free(invitation.name)
        if invitation.token in self._invitations:
            raise Refused("token-used")
        self._invitations[invitation.token] = invitation

    @answered
    def invitation(self, token: bytes) -> InvitationRow | None:
        return self._invitations.get(token)

    @answered
    def invitations(self) -> list[InvitationRow]:
        return sorted(self._invitations.values(), key=lambda row: (row.created, row.token))

    @answered
    def withdraw(self, token: bytes) -> bool:
        row = self._invitations.get(token)
        if row is None or row.state != "open":
            return False
        self._invitations[token] = replace(row, state="withdrawn")
        return True

    @answered
    def dispute(self, token: bytes, now: int | None) -> bool:
        row = self._invitations.get(token)
        if row is None or (row.disputed is None) == (now is None):
            return False
        self._invitations[token] = replace(row, disputed=now)
        return True

    @answered
    def consume(self, token: bytes, certificate: CertificateRow, now: int) -> Consumed:
        row = self._invitations.get(token)
        if row is None:
            raise Refused("unknown")
        if row.state == "used":
            return self._consumed_before(row, certificate)
        if row.state == "withdrawn" or row.expiry <= now:
            raise Refused("expired", row.name)
        if certificate.name != row.name:
            raise ValueError("the certificate names another peer than the invitation")
        self._check_free(row.name)
        peer = PeerRow(row.name, "active", certificate, row.roles, now)
        self._peers[row.name] = peer
        self._certificates.append(certificate)
        self._invitations[token] = replace(
            row, state="used", used=now, certificate_sha256=certificate.sha256
        )
        self._note("issued", now, peer)
        return Consumed(peer, certificate, repeated=False)

    @answered
    def ticket_put(self, tickets: Sequence[TicketRow]) -> None:
        self._tickets.update((ticket.id_sha256, ticket) for ticket in tickets)

    @answered
    def ticket_take(
        self, id_sha256: bytes, now: int, verify: Callable[[bytes], None]
    ) -> Redeemed | None:
        ticket = self._tickets.get(id_sha256)
        if ticket is None or ticket.expiry <= now:
            return None
        peer = self._peers.get(ticket.name)
        if peer is None or peer.state != "active":
            return None
        if peer.certificate.sha256 != ticket.certificate_sha256:
            return None
        verify(ticket.psk)
        del self._tickets[id_sha256]
        return Redeemed(ticket, peer)

    @answered
    def tickets_kill(self, *, session_id: bytes | None = None, name: str | None = None) -> int:
        return self._kill_tickets(
            lambda ticket: ticket.session_id == session_id or ticket.name == name
        )

    def _tidy_directory(self, now: int) -> None:
        self._kill_tickets(lambda ticket: ticket.expiry <= now)
        for token, row in list(self._invitations.items()):
            if (row.expiry if row.used is None else row.used) + KEPT <= now:
                del self._invitations[token]

    def _check_free(self, name: str) -> None:
        for other in self._peers:
            if skeleton(other) == skeleton(name):
                raise Refused("name-taken", other)

    def _consumed_before(self, row: InvitationRow, certificate: CertificateRow) -> Consumed:
        first = next(old for old in self._certificates if old.sha256 == row.certificate_sha256)
        if first.spki != certificate.spki:
            raise Refused("token-used", row.name)
        peer = self._peers[row.name]
        if peer.state != "active":
            raise Refused("revoked", row.name)
        return Consumed(peer, first, repeated=True)

    def _kill_tickets(self, dead: Callable[[TicketRow], bool]) -> int:
        ids = [id_sha256 for id_sha256, ticket in self._tickets.items() if dead(ticket)]
        for id_sha256 in ids:
            del self._tickets[id_sha256]
        return len(ids)

    def _note(self, kind: LogKind, time: int, peer: PeerRow) -> None:
        key, certificate = sha256(peer.certificate.spki), peer.certificate.sha256
        self._log.append(LogRow(len(self._log), kind, time, peer.name, key, certificate))

    def _leave_rooms(self, name: str) -> None:
        raise NotImplementedError
