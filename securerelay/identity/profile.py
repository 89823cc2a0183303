"""A client's profile: the folder with everything that makes somebody a peer of a relay.

::

    profile.json    names, relay id, addresses, certificate; the invitation until it is used
    key.pem         the peer's RSA key, perhaps under a passphrase
    tickets         resumption tickets, sealed under a key that comes from the peer's
    sealing.keys    the message key and the key of the database's secrets, likewise
    successions     what former keys said of the next ones, if there were any
    next, switch    the next key, as long as it takes to get there: see :mod:`.switching`
    lock            held while one of them changes

``profile.json`` is what makes the folder a profile, and it changes as a whole: a profile waits for
its certificate or has it, and never anything between.  The key and the invitation are on disk
before the relay hears of them, so a reply that got lost is had again with the same two.
"""

# More than 400 lines: everything that changes a profile is here, behind its one lock.

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import CertificateError, KeyReplaced, LocalError, ProfileError
from securerelay.identity import (
    certificates,
    keyfile,
    profilefile,
    sealingkeys,
    switching,
    ticketfile,
)
from securerelay.identity.certificates import PeerCertificate
from securerelay.identity.invitation import Invitation
from securerelay.identity.profilefile import Facts
from securerelay.identity.profiles import FILE
from securerelay.identity.sealingkeys import SealingKeys
from securerelay.protocol.connection import ClientTicket, Credential, Enrolment

KEY = "key.pem"
TICKETS = "tickets"
SEALING = "sealing.keys"
LOCK = "lock"


class Profile:
    """One profile; :meth:`open` and :meth:`join` make it.

    Several programs may use one profile at once: what it changes is read anew under a lock first.

    Args:
        path: the folder.
        facts: what ``profile.json`` says.
        key: if it has been had.
    """

    def __init__(
        self, path: pathlib.Path, facts: Facts, key: rsa.RSAPrivateKey | None = None
    ) -> None:
        self.path = path
        self._facts = facts
        self._key = key

    def __repr__(self) -> str:
        return f"<Profile {self.name} in {self.path}>"

    @classmethod
    def open(cls, path: pathlib.Path) -> Profile:
        """Open a profile that exists.

        Args:
            path: its folder.

        Raises:
            ProfileError: if there is none, or it cannot be used.
        """
        if (path / switching.SWITCH).exists():
            with files.locked(path / LOCK):
                switching.settle(path)
        return cls(path, profilefile.read(path / FILE))

    @classmethod
    def join(
        cls,
        path: pathlib.Path,
        invitation: Invitation,
        *,
        key: rsa.RSAPrivateKey | None = None,
        bits: int = keyfile.DEFAULT_SIZE,
        passphrase: bytes | None = None,
    ) -> Profile:
        """Make a profile that waits for its certificate, or go on with the one that does.

        A profile that waits for the same name at the same relay keeps its key; the invitation may
        be a newer one.  So this may be called again after any failure.

        Args:
            path: the folder to make; it may exist.
            invitation: from the relay's administrator.
            key: the key to use; None for the one in the folder, or a new one.
            bits: the size of the key to make.
            passphrase: protects the key; None to keep it plain.

        Raises:
            ProfileError: if the folder holds another profile, or one that is enrolled.
            WrongPassphrase: if the waiting profile's key is under another passphrase.
            LocalError: if it cannot be written.
        """
        files.make_private_folder(path)
        with files.locked(path / LOCK):
            facts = Facts(
                name=invitation.name,
                relay_id=invitation.relay_id,
                addresses=((invitation.host, invitation.port),),
                invitation=invitation,
            )
            if (path / FILE).exists():
                _require_same(path, profilefile.read(path / FILE), facts)
            if key is not None or not (path / KEY).exists():
                key = key or keyfile.generate_key(bits)
                keyfile.save_key(path / KEY, key, passphrase, replace=False)
            else:
                key = keyfile.load_key(path / KEY, passphrase)
            profilefile.write(path / FILE, facts)
        return cls(path, facts, key)

    # -- what it says

    @property
    def name(self) -> str:
        """The peer's name."""
        return self._facts.name

    @property
    def relay_id(self) -> bytes:
        """Which relay, 32 bytes."""
        return self._facts.relay_id

    @property
    def relay_name(self) -> str | None:
        """What the relay called itself at enrolment; None before."""
        return self._facts.relay_name

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where the relay is: hosts without brackets, and ports, in the order to try."""
        return self._facts.addresses

    @property
    def invitation(self) -> Invitation | None:
        """The invitation, until enrolment is over."""
        return self._facts.invitation

    @property
    def enrolled(self) -> bool:
        """Whether the profile has its certificate."""
        return self._facts.certificate is not None

    @property
    def certificate(self) -> bytes:
        """The peer's certificate, DER.

        Raises:
            ProfileError: before enrolment.
        """
        if self._facts.certificate is None:
            raise ProfileError(
                f"{self.path} has not joined its relay yet; use the invitation again"
            )
        return self._facts.certificate

    @property
    def ca_spki(self) -> bytes:
        """The SubjectPublicKeyInfo of the relay's authority, DER.

        Raises:
            ProfileError: before enrolment.
        """
        if self._facts.ca_spki is None:
            raise ProfileError(
                f"{self.path} has not joined its relay yet; use the invitation again"
            )
        return self._facts.ca_spki

    @property
    def peer(self) -> PeerCertificate:
        """What the peer's certificate says.

        Raises:
            ProfileError: before enrolment.
        """
        authority = primitives.load_rsa_spki(self.ca_spki)
        if authority is None:
            raise ProfileError(f"{self.path / FILE} is damaged: it has no authority's key")
        return certificates.check_peer(authority, self.certificate)

    # -- secrets

    def protected(self) -> bool:
        """Tell whether the key can only be had with a passphrase."""
        return keyfile.is_protected(self.path / KEY)

    def key(self, passphrase: bytes | None = None) -> rsa.RSAPrivateKey:
        """Return the peer's key; it is read once.

        Args:
            passphrase: what protects it, if anything does.

        Raises:
            WrongPassphrase: if that is not it.
            KeyFileError: if the file holds no key.
        """
        if self._key is None:
            self._key = keyfile.load_key(self.path / KEY, passphrase, ours=True)
        return self._key

    def change_passphrase(self, old: bytes | None, new: bytes | None) -> None:
        """Protect the key with another passphrase, or with none.

        Args:
            old: the present one.
            new: the next one; None to keep the key plain.

        Raises:
            WrongPassphrase: if the old one is wrong.
            ProfileError: while another key waits, under the old one.
        """
        with files.locked(self.path / LOCK):
            if switching.waiting(self.path) is not None:
                raise ProfileError("a new key waits: finish `securerelay renew --new-key` first")
            key = keyfile.load_key(self.path / KEY, old)
            keyfile.save_key(self.path / KEY, key, new)

    def credential(self, passphrase: bytes | None = None) -> Credential:
        """Return what proves who we are.

        Raises:
            ProfileError: before enrolment, or if the profile has got another key meanwhile.
            WrongPassphrase: if the key is under another passphrase.
        """
        key = self.key(passphrase)
        self._require_same_key()
        return Credential(self.certificate, lambda c, digest: primitives.sign_pss(key, c, digest))

    def sealing_keys(self) -> SealingKeys:
        """Return what we seal with, made at first use; the peer's key must have been had before.

        Raises:
            ProfileError: if the file belongs to another key, or is damaged.
        """
        path = self.path / SEALING
        with files.locked(self.path / LOCK):
            if not path.exists():
                keys = SealingKeys.generate()
                files.write_private(path, sealingkeys.seal(keys, self.key()), replace=False)
                return keys
            try:
                return sealingkeys.unseal(files.read_private(path), self.key())
            except ValueError:
                raise ProfileError(
                    f"{path} is damaged, or belongs to another key: restore a backup"
                ) from None

    # -- enrolment

    def enrolment(self, passphrase: bytes | None = None) -> Enrolment:
        """Return what makes us a peer; the same one until :meth:`accept`.

        Raises:
            ProfileError: when there is no invitation to use.
            WrongPassphrase: if the key is under another passphrase.
        """
        invitation, key = self.invitation, self.key(passphrase)
        if invitation is None:
            raise ProfileError(f"{self.path} has joined its relay already")
        return Enrolment(
            token=invitation.token,
            name=invitation.name,
            seed=invitation.signing_seed,
            spki=primitives.spki(key.public_key()),
            sign=lambda c, digest: primitives.sign_pss(key, c, digest),
        )

    def accept(
        self, certificate: bytes, *, ca_spki: bytes, relay_name: str, now: datetime.datetime
    ) -> None:
        """Take the certificate that ends an enrolment, and forget the invitation.

        Args:
            certificate: as the relay sent it, DER.
            ca_spki: the authority's SubjectPublicKeyInfo as the relay sent it, DER.
            relay_name: the name in the relay's certificate.
            now: the time, aware of its zone.

        Raises:
            CertificateError: if it is not for our name and key, or breaks the profile.
            ProfileError: if the profile has one already.
        """
        with self._changing() as facts:
            if facts.certificate == certificate:
                return
            if facts.invitation is None:
                raise ProfileError(f"{self.path} has joined its relay already")
            self._check(certificate, ca_spki, now)
            self._write(
                certificate=certificate, ca_spki=ca_spki, relay_name=relay_name, invitation=None
            )

    def save_certificate(self, certificate: bytes, *, now: datetime.datetime) -> None:
        """Take a renewed certificate.

        Args:
            certificate: as the relay sent it, DER.
            now: the time, aware of its zone.

        Raises:
            CertificateError: if it is not for our name and key, or breaks the profile.
            ProfileError: before enrolment, or if the profile has got another key meanwhile.
        """
        with self._changing():
            self._require_same_key()
            self._check(certificate, self.ca_spki, now)
            self._write(certificate=certificate)

    def save_addresses(self, addresses: tuple[tuple[str, int], ...]) -> None:
        """Change where the relay is.

        Args:
            addresses: hosts without brackets, and ports, in the order to try; not empty.
        """
        with self._changing():
            self._write(addresses=addresses)

    def _require_same_key(self) -> None:
        if self.peer.spki != primitives.spki(self.key().public_key()):
            raise KeyReplaced(f"{self.path} has got another key: start this program again")

    def _check(self, certificate: bytes, ca_spki: bytes, now: datetime.datetime) -> None:
        if not primitives.equal(primitives.sha256(ca_spki), self.relay_id):
            raise CertificateError("the authority is not this profile's relay's")
        spki = primitives.spki(self.key().public_key())
        certificates.check_enrolled(ca_spki, certificate, name=self.name, spki=spki, now=now)

    # -- tickets

    def take_ticket(self, now: float) -> ClientTicket | None:
        """Take a ticket out of the profile; it is gone from the disk when this returns.

        Args:
            now: Unix seconds.

        Returns:
            A ticket that has not expired, or None if there is none that can be had.
        """
        with files.locked(self.path / LOCK):
            left = [one for one in self._tickets() if one.expiry > now]
            if not left:
                return None
            self._put_tickets(left[1:])
            return left[0]

    def save_tickets(self, tickets: tuple[ClientTicket, ...]) -> None:
        """Keep these tickets, and no others.

        The key must have been had before, since it seals them.
        """
        with files.locked(self.path / LOCK):
            self._put_tickets(tickets)

    def _tickets(self) -> list[ClientTicket]:
        # Tickets only save time: what is missing or cannot be read is no reason to fail.
        try:
            return ticketfile.unseal(files.read_private(self.path / TICKETS), self.key())
        except (LocalError, ValueError):
            return []

    def _put_tickets(self, tickets: tuple[ClientTicket, ...] | list[ClientTicket]) -> None:
        if tickets:
            files.write_private(self.path / TICKETS, ticketfile.seal(tickets, self.key()))
        else:
            files.remove(self.path / TICKETS)

    # -- changes

    def reload(self) -> None:
        """Read what another program may have changed, such as a renewed certificate."""
        self._facts = profilefile.read(self.path / FILE)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Facts]:
        with files.locked(self.path / LOCK):
            self.reload()
            yield self._facts

    def _write(self, **changes: object) -> None:
        """Change some of the facts, on disk and here; the lock is held."""
        facts = dataclasses.replace(self._facts, **changes)  # type: ignore[arg-type]
        profilefile.write(self.path / FILE, facts)
        self._facts = facts


def _require_same(path: pathlib.Path, old: Facts, new: Facts) -> None:
    if old.invitation is None:
        raise ProfileError(
            f"{path} holds the profile of {old.name} already; choose another profile"
        )
    if (old.name, old.relay_id) != (new.name, new.relay_id):
        raise ProfileError(
            f"{path} waits to join as {old.name}, at another relay or by another name than the "
            "invitation says; choose another profile"
        )
