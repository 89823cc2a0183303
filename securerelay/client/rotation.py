"""A profile gets other keys and stays the same peer: :func:`rotate`.

The order is what makes it safe to stop anywhere.  The next key is on disk before the relay hears of
it, and so is its certificate before it is used; until it is used, the present one is good.  Done
again, it goes on where it stopped.
"""

from __future__ import annotations

import datetime
import pathlib
import time
import typing
from dataclasses import dataclass

from twisted.logger import Logger

from securerelay.client.peer import CONNECT, connect, the_reactor
from securerelay.client.sealing import lineage
from securerelay.client.waiting import within
from securerelay.errors import ConnectError, RemoteError, SecureRelayError, TimedOut
from securerelay.identity import keyfile, profiles
from securerelay.identity.nextkey import NextKey
from securerelay.identity.profile import Profile
from securerelay.protocol import lines
from securerelay.sealing import succession

_log = Logger()


@dataclass(frozen=True, slots=True)
class Rotated:
    """What came of it.

    Args:
        profile: with its new key.
        used: whether the relay has seen the new key already, and the old one has ended; else that
            happens with the next connection.
    """

    profile: Profile
    used: bool


async def rotate(
    profile: Profile | str | pathlib.Path | None = None,
    *,
    passphrase: bytes | None = None,
    bits: int = keyfile.DEFAULT_SIZE,
    timeout: float = CONNECT,
    **options: typing.Any,
) -> Rotated:
    """Give a profile a new identity key and message key, at its relay too.

    Contacts follow by themselves, for the old key signs the new one; where they had verified the
    old one they see ``changed``.  Other programs that use the profile end and have to be started
    again.  If this fails, nothing has changed; call it again.

    Args:
        profile: as for :func:`securerelay.client.service`.
        passphrase: what protects its key; the new one is under the same.
        bits: the size of the new identity key.
        timeout: seconds for each of two connections.
        options: as for :func:`securerelay.client.service`, but for ``durable``.

    Raises:
        ConnectError: the relay could not be asked.
        Refused: ``too-many`` if there were too many new keys today.
        ProfileError: as for connecting.
        WrongPassphrase: likewise.
        AuthenticationFailed: likewise.
    """
    if not isinstance(profile, Profile):
        path = profile if isinstance(profile, pathlib.Path) else profiles.find(profile)
        profile = Profile.open(path)
    options = {"passphrase": passphrase, "timeout": timeout, **options}
    following = _prepare(profile, passphrase, bits)
    certificate = await _ask(profile, following, options)
    new = following.adopt(certificate, now=datetime.datetime.now(datetime.timezone.utc))
    return Rotated(new, await _use(new, options))


def _prepare(profile: Profile, passphrase: bytes | None, bits: int) -> NextKey:
    key = profile.key(passphrase)
    old = lineage.identity(profile)

    def succeed(spki: bytes, seed: bytes) -> bytes:
        new = lineage.of(profile, spki, seed)
        return succession.build(key, old, new.fp, int(time.time() * 1000))

    return NextKey.prepare(profile, succeed, passphrase=passphrase, bits=bits)


async def _ask(profile: Profile, following: NextKey, options: dict[str, typing.Any]) -> bytes:
    """Get the next key's certificate, in a session that the present key opens."""
    profile.save_tickets(())
    client = await connect(profile, durable=False, **options)
    try:
        session_id = client.session_id
        if session_id is None:
            raise ConnectError("the connection to the relay was cut")
        reply = await client.call(
            "cert.renew",
            {
                "key": lines.encode(following.spki),
                "proof": lines.encode(following.prove(session_id)),
            },
        )
    finally:
        await client.close()
    certificate = reply.get("certificate")
    if not isinstance(certificate, str):
        raise RemoteError("protocol", "cert.renew answered without a certificate")
    return lines.decode(certificate)


async def _use(profile: Profile, options: dict[str, typing.Any]) -> bool:
    """Prove the new key to the relay, and publish what contacts follow; it may wait."""
    try:
        client = await connect(profile, **options)
        try:
            assert client.sealing is not None, "a profile seals"
            clock = the_reactor(options.get("reactor"))
            await within(
                client.sealing.own.published(), options["timeout"], clock, lambda: TimedOut("")
            )
        finally:
            await client.close()
    except SecureRelayError as error:
        # The profile has changed; nobody shall take this for a failure, and change it again.
        _log.warn("the new key could not be used yet: {error}", error=error)
        return False
    return True
