"""A client of a profile: :func:`connect` to wait for it, :func:`service` to run it for ever."""

from __future__ import annotations

import datetime
import pathlib
import time
import typing
from collections.abc import Callable, Collection, Sequence

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from securerelay.client.client import Client
from securerelay.client.journal import Journal
from securerelay.client.lane import ThreadLane
from securerelay.client.sealing.sealing import Sealing
from securerelay.crypto import primitives
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.errors import LocalError, RemoteError
from securerelay.identity import certificates, profiles, sealingkeys
from securerelay.identity.invitation import format_address
from securerelay.identity.profile import Profile
from securerelay.protocol import lines
from securerelay.protocol.connection import ClientConfig, ClientTicket, RelayIdentity

CONNECT = 30.0
"""Seconds that :func:`connect` waits for a connection."""

Endpoint: typing.TypeAlias = "str | IStreamClientEndpoint"
Endpoints: typing.TypeAlias = "Sequence[tuple[str, IStreamClientEndpoint]]"


class ProfileIdentity:
    """What a link needs of a profile; its key has been had.

    Args:
        profile: an enrolled one.
        suites: permitted AEADs by preference.
        groups: permitted key-exchange groups by preference.
        now: Unix seconds.
    """

    _log = Logger()

    def __init__(
        self,
        profile: Profile,
        suites: tuple[str, ...] = primitives.SUITES,
        groups: tuple[str, ...] = DEFAULT_GROUPS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._profile = profile
        self._suites = suites
        self._groups = groups
        self._now = now
        self._once: bytes | None = None

    def _today(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now(), datetime.timezone.utc)

    @property
    def renew_at(self) -> float:
        """When the certificate is to be renewed, Unix seconds."""
        return self._profile.peer.renew_at.timestamp()

    def config(self, ticket: ClientTicket | None) -> ClientConfig:
        """Say how to greet the relay, with the newest certificate that any program has earned."""
        profile = self._profile
        profile.reload()

        def check_relay(ca_spki: bytes, der: bytes) -> RelayIdentity:
            now, name = self._today(), profile.relay_name
            return certificates.check_relay(ca_spki, der, now=now, name=name)

        return ClientConfig(
            profile.relay_id,
            check_relay,
            profile.credential(),
            ticket,
            suites=self._suites,
            groups=self._groups,
        )

    def take_ticket(self) -> ClientTicket | None:
        """Return a ticket that is not kept anywhere any more."""
        try:
            return self._profile.take_ticket(self._now())
        except (LocalError, OSError) as error:
            self._log.warn("tickets cannot be used: {error}", error=error)
            return None

    def keep_tickets(self, tickets: tuple[ClientTicket, ...]) -> None:
        """Keep these tickets, and no others; they only save time, so a full disk is no failure."""
        try:
            self._profile.save_tickets(tickets)
        except (LocalError, OSError) as error:
            self._log.warn("tickets cannot be kept: {error}", error=error)

    def once(self, key: str) -> str:
        """Name the stream of the one message that a key of the application stands for.

        It is the same wherever the profile is and whatever key it gets, and tells the relay nothing
        of the key.
        """
        if self._once is None:
            kept = self._profile.sealing_keys().once
            self._once = kept or sealingkeys.once_secret(self._profile.key())
        return lines.encode(primitives.hmac384(self._once, key.encode())[:16])

    def keep_certificate(self, reply: dict[str, typing.Any]) -> None:
        """Check and keep what ``cert.renew`` answered.

        Raises:
            RemoteError: if it is no certificate, or not ours.
        """
        text = reply.get("certificate")
        if not isinstance(text, str):
            raise RemoteError("protocol", "cert.renew answered without a certificate")
        before = self._profile.certificate
        self._profile.save_certificate(lines.decode(text), now=self._today())
        if self._profile.certificate != before:
            self.keep_tickets(())  # They died with the certificate that brought them.


def endpoints(
    addresses: Sequence[tuple[str, int]], endpoint: Endpoint | None, reactor: typing.Any
) -> Endpoints:
    """Say where to connect.

    Args:
        addresses: hosts and ports.
        endpoint: goes before all of them: a Twisted client endpoint or its string.
        reactor: the reactor.
    """
    if isinstance(endpoint, str):
        return [(endpoint, clientFromString(reactor, endpoint))]
    if endpoint is not None:
        return [("the given endpoint", endpoint)]
    return [
        (format_address(host, port), HostnameEndpoint(reactor, host, port))
        for host, port in addresses
    ]


def the_reactor(reactor: typing.Any) -> typing.Any:
    """Return the reactor given, or Twisted's own."""
    if reactor is None:
        from twisted.internet import reactor
    return reactor


def service(
    profile: Profile | str | pathlib.Path | None = None,
    *,
    passphrase: bytes | None = None,
    endpoint: Endpoint | None = None,
    suites: tuple[str, ...] = primitives.SUITES,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    durable: bool = True,
    plain: Collection[str] = (),
    read_receipts: bool = True,
    reactor: typing.Any = None,
) -> Client:
    """Make a client as a service: it connects when it is started, and again whenever it has to.

    Args:
        profile: a profile, its name or its folder; None for the one of ``$SECURERELAY_PROFILE``, or
            the only one.
        passphrase: what protects the profile's key, if anything does.
        endpoint: where to connect, instead of the profile's addresses.
        suites: permitted AEADs by preference.
        groups: permitted key-exchange groups by preference.
        durable: whether messages, and which of those that came were dealt with, are kept in the
            profile and so outlive this program; False keeps nothing there, and so can neither seal
            nor open: what is sent has to be said to be plain.
        plain: peers that may write to us without sealing, such as services.
        read_receipts: whether senders who ask for it (``receipt``) are told by us, and not by the
            relay alone, that their messages were acknowledged.
        reactor: the reactor; Twisted's own unless told otherwise.

    Raises:
        ProfileError: there is no such profile, or it has not joined yet.
        WrongPassphrase: the passphrase is another one.
        StorageError: what the profile keeps of messages cannot be used; it is left as it is.
    """
    reactor = the_reactor(reactor)
    if not isinstance(profile, Profile):
        path = profile if isinstance(profile, pathlib.Path) else profiles.find(profile)
        profile = Profile.open(path)
    profile.credential(passphrase)
    where = endpoints(profile.addresses, endpoint, reactor)
    identity = ProfileIdentity(profile, suites, groups)
    if not durable:
        return Client(identity, profile.name, where, reactor, strict=True)
    journal = Journal(profile.path, ThreadLane(reactor), reactor)
    sealing = Sealing(profile, journal, reactor, plain, read_receipts=read_receipts)
    return Client(identity, profile.name, where, reactor, journal=journal, sealing=sealing)


async def connect(
    profile: Profile | str | pathlib.Path | None = None,
    *,
    timeout: float = CONNECT,
    **options: typing.Any,
) -> Client:
    """Connect to the profile's relay.

    Args:
        profile: as for :func:`service`.
        timeout: seconds in which to succeed.
        options: as for :func:`service`.

    Returns:
        A client that is connected, and connects again when it has to, until it is closed.

    Raises:
        ProfileError: there is no such profile, or it has not joined yet.
        WrongPassphrase: the passphrase is another one.
        ConnectError: no relay answers.
        AuthenticationFailed: the relay is not the profile's, or does not accept us.
    """
    client = service(profile, **options)
    client.startService()
    try:
        await client.connected(client.attempts, timeout)
    except BaseException:
        await client.close()
        raise
    return client
