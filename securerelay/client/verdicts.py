"""What to tell people when a connection to a relay does not come about, or ends."""

from __future__ import annotations

from twisted.internet import error

from securerelay.errors import AuthenticationFailed, ConnectError, Refused, SecureRelayError
from securerelay.protocol.connection import End

FINAL = frozenset({"revoked", "expired", "token-used", "replaced"})
"""What the relay says inside a session, or an encrypted answer, after which coming again is no use."""

PASSING = frozenset({"busy", "shutdown"})
"""What a relay says that will soon take us."""

_SAID = {
    "revoked": "the relay's administrator has revoked this certificate",
    "expired": "the certificate has expired: ask the relay's administrator for a new invitation",
    "token-used": "the invitation has been used already, with another key",
    "name-taken": "the name is taken: ask for an invitation with another one",
    "replaced": "newer sessions of the same name have taken the place of this one",
}


def explain(end: End, where: str) -> SecureRelayError:
    """Turn the end of a connection into the error that its user sees.

    Args:
        end: how it ended.
        where: the relay's address, for people.

    Returns:
        AuthenticationFailed, Refused or ConnectError.
    """
    if not end.by_peer:
        if end.code == "auth-failed":
            return AuthenticationFailed(
                end.code,
                f"the relay at {where} is not the one that this profile belongs to ({end.detail})",
            )
        if end.code == "timeout":
            return ConnectError(f"the relay at {where} did not answer in time")
        if end.code == "truncated":
            return ConnectError(f"the connection to the relay at {where} was cut")
        return ConnectError(f"what answers at {where} is no relay for us: {end.code}, {end.detail}")
    if end.code in _SAID:
        kind = AuthenticationFailed if end.code in ("revoked", "expired") else Refused
        return kind(end.code, _SAID[end.code])
    if end.code == "auth-failed":
        return AuthenticationFailed(end.code, f"the relay at {where} does not accept our proof")
    if end.code == "bad-line":
        # A relay with another authority cannot read our knock, and answers like this.
        return AuthenticationFailed(
            end.code,
            f"the relay at {where} is not the one that this profile belongs to: "
            "another certificate authority, or another version of the protocol",
        )
    if end.code in ("no-common-suite", "no-common-group"):
        return AuthenticationFailed(end.code, f"the relay at {where} permits no algorithm that we do")
    return ConnectError(f"the relay at {where} ended the connection: {end.code}")


def explain_failure(problem: BaseException | None, where: str) -> SecureRelayError:
    """Turn a failed attempt to connect into the error that its user sees."""
    if isinstance(problem, SecureRelayError):
        return problem
    if isinstance(problem, error.ConnectionRefusedError):
        return ConnectError(f"no relay answers at {where}: connection refused")
    if isinstance(problem, error.DNSLookupError):
        return ConnectError(f"the relay's address {where} cannot be found")
    if isinstance(problem, (error.TimeoutError, error.ConnectingCancelledError)):
        return ConnectError(f"the relay at {where} did not answer in time")
    return ConnectError(f"cannot connect to the relay at {where}: {problem}")
