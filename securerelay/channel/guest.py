"""The invited end of a channel: a key made for it, a certificate earned in a first connection."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.channel.pipe import Carrier, Pipe
from securerelay.crypto import primitives
from securerelay.errors import (
    AuthenticationFailed,
    CertificateError,
    ConnectError,
    Refused,
    SecureRelayError,
)
from securerelay.identity.certificates import check_peer, check_relay
from securerelay.identity.invitation import Invitation
from securerelay.protocol.connection import (
    ClientConfig,
    ClientConnection,
    Credential,
    End,
    Enrolment,
    RelayIdentity,
    Welcome,
)

_SAID = {
    "token-used": "the invitation has been used already by somebody else",
    "expired": "the invitation has expired",
    "revoked": "somebody is in the channel already",
}


class Guest:
    """What the invited end is, without any transport.

    Args:
        invitation: as parsed.
        key: a throw-away RSA key.
        groups: permitted key-exchange groups by preference.
        suites: permitted AEADs by preference.
        now: Unix seconds.

    Raises:
        InvitationError: if it has expired.
    """

    def __init__(
        self,
        invitation: Invitation,
        key: rsa.RSAPrivateKey,
        *,
        groups: tuple[str, ...],
        suites: tuple[str, ...] = primitives.SUITES,
        now: Callable[[], float] = time.time,
    ) -> None:
        invitation.require_current(now())
        self.invitation = invitation
        self._key = key
        self._groups = groups
        self._suites = suites
        self._now = now
        self._ca_spki = b""
        self.certificate: bytes | None = None

    def config(self) -> ClientConfig:
        """Say how to greet the host: as a newcomer, or with the certificate."""
        invitation = self.invitation
        credential: Credential | Enrolment
        if self.certificate is None:
            spki = primitives.spki(self._key.public_key())
            credential = Enrolment(
                invitation.token, invitation.name, invitation.signing_seed, spki, self._sign
            )
        else:
            credential = Credential(self.certificate, self._sign)
        return ClientConfig(
            invitation.relay_id,
            self._check_relay,
            credential,
            suites=self._suites,
            groups=self._groups,
        )

    def _sign(self, context: bytes, digest: bytes) -> bytes:
        return primitives.sign_pss(self._key, context, digest)

    def _check_relay(self, ca_spki: bytes, der: bytes) -> RelayIdentity:
        self._ca_spki = ca_spki
        now = datetime.datetime.fromtimestamp(self._now(), datetime.timezone.utc)
        return check_relay(ca_spki, der, now=now)

    def enrolled(self, der: bytes | None) -> None:
        """Keep the certificate, if it is ours.

        Raises:
            CertificateError: if it is not.
        """
        ca = primitives.load_rsa_spki(self._ca_spki)
        if der is None or ca is None:
            raise CertificateError("no certificate came")
        issued = check_peer(ca, der)
        own = primitives.spki(self._key.public_key())
        if issued.name != self.invitation.name or issued.spki != own:
            raise CertificateError("the certificate is somebody else's")
        self.certificate = der


class GuestConnection:
    """One connection from the invited end (its ``ClientHost``).

    Args:
        guest: whom it belongs to.
        carrier: what carries its bytes.
        seconds: a clock that never goes back.
        done: called once: with the pipe, with None when the certificate is there and another
            connection is to be made, or with the error.
    """

    def __init__(
        self,
        guest: Guest,
        carrier: Carrier,
        seconds: Callable[[], float],
        done: Callable[[Pipe | SecureRelayError | None], None],
    ) -> None:
        self._guest = guest
        self._carrier = carrier
        self._done = done
        self._enrolling = guest.certificate is None
        self._late = False
        self._problem: AuthenticationFailed | None = None
        self.connection = ClientConnection(guest.config(), self, seconds)
        self.pipe: Pipe | None = None

    def start(self) -> None:
        """Speak first."""
        self.connection.start()

    def timed_out(self) -> None:
        """The handshake took too long."""
        self._late = True
        self.connection.lost()

    # -- ClientHost

    def write(self, data: bytes) -> None:
        """See ClientHost."""
        self._carrier.write(data)

    def welcome(self, welcome: Welcome) -> None:
        """See ClientHost."""
        if self._enrolling:
            try:
                self._guest.enrolled(welcome.certificate)
            except CertificateError as error:
                self._problem = AuthenticationFailed(error.code, error.detail)
                self.connection.lost()
        elif self.pipe is None:
            self.pipe = Pipe(self.connection, self._carrier)
            self._done(self.pipe)

    def data(self, content: bytes) -> None:
        """See ClientHost."""
        if self.pipe is None:
            raise CertificateError("data from nobody")
        self.pipe.received(content)

    def ended(self, end: End) -> None:
        """See ClientHost."""
        self._carrier.lose()
        if self.pipe is not None:
            self.pipe.ended(end)
        elif self._enrolling and end.orderly and self._guest.certificate is not None:
            self._done(None)
        else:
            self._done(self._explain(end))

    def _explain(self, end: End) -> SecureRelayError:
        if self._problem is not None:
            return self._problem
        if self._late:
            return ConnectError("the host of the channel did not answer in time")
        if end.by_peer and end.code in _SAID:
            return Refused(end.code, _SAID[end.code])
        if end.code in ("auth-failed", "bad-line"):
            return AuthenticationFailed(
                end.code,
                "what answers is not the host that made this invitation "
                f"({end.detail or end.code})",
            )
        return ConnectError(f"the channel was not established: {end.code}")
