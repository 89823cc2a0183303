"""Joining a relay by an invitation (SR1 section 6).

Key and invitation are on disk before the relay hears of them, and the relay gives the same
certificate to the same key again; so whatever breaks in between, trying again completes it.
"""

from __future__ import annotations

import datetime
import pathlib
import time
import typing
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from securerelay.client.peer import Endpoint, endpoints, service, the_reactor
from securerelay.client.session import Session
from securerelay.client.verdicts import JOINING, explain, explain_failure
from securerelay.client.waiting import within
from securerelay.client.wire import ClientWire
from securerelay.crypto import primitives
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.errors import (
    AuthenticationFailed,
    CertificateError,
    ConnectError,
    LocalError,
    SecureRelayError,
    TimedOut,
)
from securerelay.identity import certificates, keyfile, profiles
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from securerelay.protocol.connection import ClientConfig, End, RelayIdentity, Welcome
from securerelay.protocol.messages import MessageDecoder

_log = Logger()

TIMEOUT = 120.0
"""Seconds for all of it, making a key on a slow machine and attempts that fail included."""
ATTEMPTS = 4
"""Connections that are made when they break before the certificate has come."""
PUBLISH = 30.0
"""Seconds in which to publish the first keys."""
PAUSE = 1.0
"""Seconds before the second of them; each next pause is twice as long."""


class Joining:
    """The one connection of an enrolment (the ``Owner`` of its wire).

    Args:
        profile: waits for its certificate; its key has been had.
        suites: permitted AEADs by preference.
        groups: permitted key-exchange groups by preference.
        clock: the reactor.
        now: Unix seconds.
    """

    def __init__(
        self,
        profile: Profile,
        suites: tuple[str, ...],
        groups: tuple[str, ...],
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._profile = profile
        self._suites = suites
        self._groups = groups
        self._clock = clock
        self._now = now
        self._ca_spki = b""
        self.wire = ClientWire(self, clock)
        self.ended: Deferred[End] = Deferred()
        self.problem: SecureRelayError | None = None

    def protocol(self) -> ClientWire:
        """Return what does it."""
        return self.wire

    def _today(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now(), datetime.timezone.utc)

    def _check_relay(self, ca_spki: bytes, der: bytes) -> RelayIdentity:
        self._ca_spki = ca_spki
        return certificates.check_relay(ca_spki, der, now=self._today())

    # -- Owner

    def config(self) -> ClientConfig:
        """Greet the relay as a newcomer."""
        return ClientConfig(
            self._profile.relay_id,
            self._check_relay,
            self._profile.enrolment(),
            suites=self._suites,
            groups=self._groups,
        )

    def decoder(self, wire: ClientWire) -> MessageDecoder:
        """A relay has nothing to tell a newcomer; what it says is read, and goes nowhere."""
        return Session(self._clock).decoder()

    def pull(self, budget: int) -> list[bytes]:
        """A newcomer sends nothing."""
        return []

    def welcomed(self, wire: ClientWire, welcome: Welcome) -> None:
        """The certificate came: keep it, if it is ours."""
        try:
            self._profile.accept(
                welcome.certificate or b"",
                ca_spki=self._ca_spki,
                relay_name=welcome.relay_name or "",
                now=self._today(),
            )
        except CertificateError as error:
            detail = f"the relay sent a certificate that is not for us: {error.detail}"
            self.problem = AuthenticationFailed(error.code, detail)
        except LocalError as error:
            self.problem = error
        if self.problem is not None:
            wire.abort()

    def lost(self, wire: ClientWire, end: End) -> None:
        """The connection is over."""
        if not self.ended.called:
            self.ended.callback(end)


async def enrol_at(
    profile: Profile,
    where: str,
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    *,
    suites: tuple[str, ...] = primitives.SUITES,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    now: Callable[[], float] = time.time,
) -> None:
    """Earn the certificate that a profile waits for; see :func:`enrol`."""
    pause = PAUSE
    for attempt in range(ATTEMPTS):
        joining = Joining(profile, suites, groups, clock, now)
        try:
            await endpoint.connect(Factory.forProtocol(joining.protocol))
            end = await joining.ended
        except CancelledError:
            joining.wire.abort()
            raise
        except Exception as error:
            raise explain_failure(error, where) from error
        if profile.enrolled:
            return
        problem = joining.problem or explain(end, where, JOINING)
        if not isinstance(problem, ConnectError) or attempt == ATTEMPTS - 1:
            raise problem
        await deferLater(clock, pause)
        pause *= 2


async def enrol(
    invitation: str | Invitation,
    profile: str | pathlib.Path | None = None,
    *,
    key: rsa.RSAPrivateKey | None = None,
    bits: int = keyfile.DEFAULT_SIZE,
    passphrase: bytes | None = None,
    endpoint: Endpoint | None = None,
    suites: tuple[str, ...] = primitives.SUITES,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    timeout: float | None = TIMEOUT,
    reactor: typing.Any = None,
) -> Profile:
    """Join a relay: make a profile with a new key, and have it certified.

    Safe to call again after any failure: the profile keeps its key, and the relay gives its
    certificate again.

    Args:
        invitation: the line that the relay's administrator sent.
        profile: the new profile's name or folder; the name in the invitation unless told otherwise.
        key: the key to use; None to make one.
        bits: the size of the key to make.
        passphrase: protects the key on disk; None to keep it plain.
        endpoint: where to connect, instead of the address in the invitation.
        suites: permitted AEADs by preference.
        groups: permitted key-exchange groups by preference.
        timeout: seconds for all of it; None for as long as it takes.
        reactor: the reactor; Twisted's own unless told otherwise.

    Returns:
        The profile, ready for :func:`~securerelay.client.connect`.

    Raises:
        InvitationError: the line is mistyped or has expired.
        ProfileError: the folder holds another profile.
        ConnectError: no relay answers.
        TimedOut: it took too long.
        AuthenticationFailed: what answers is not the relay of the invitation, or does not know the
            invitation.
        Refused: ``token-used``, ``expired``.
    """
    reactor = the_reactor(reactor)
    if isinstance(invitation, str):
        invitation = Invitation.parse(invitation)
    invitation.require_current(time.time())
    path = profile if isinstance(profile, pathlib.Path) else None
    path = path or profiles.folder_of(profile if isinstance(profile, str) else invitation.name)

    def prepare() -> Profile:
        return Profile.join(path, invitation, key=key, bits=bits, passphrase=passphrase)

    async def joining() -> Profile:
        joined = await deferToThreadPool(reactor, reactor.getThreadPool(), prepare)
        where, way = endpoints(joined.addresses, endpoint, reactor)[0]
        await enrol_at(joined, where, way, reactor, suites=suites, groups=groups)
        return joined

    late = TimedOut(f"the relay at {invitation.address} did not answer in time")
    joined = await within(Deferred.fromCoroutine(joining()), timeout, reactor, lambda: late)
    # So that others can write before the first program runs; if it fails, that one does it.
    try:
        await _publish(joined, endpoint=endpoint, suites=suites, groups=groups, reactor=reactor)
    except SecureRelayError as error:
        _log.warn("the first keys could not be published yet: {error}", error=error)
    return joined


async def _publish(profile: Profile, **options: typing.Any) -> None:
    """Have the relay know the keys that others seal with."""
    client = service(profile, **options)
    assert client.sealing is not None, "services seal"
    client.startService()
    try:
        await client.connected(client.attempts, PUBLISH)
        await within(
            client.sealing.own.published(),
            PUBLISH,
            options["reactor"],
            lambda: TimedOut("the relay did not take our keys in time"),
        )
    finally:
        await client.close()
