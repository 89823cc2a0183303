"""What to tell people when a connection to a relay does not come about, or ends."""

from __future__ import annotations

import os
from dataclasses import dataclass

from twisted.internet import error

from securerelay.errors import AuthenticationFailed, ConnectError, Refused, SecureRelayError
from securerelay.protocol.connection import End

FINAL = frozenset({"revoked", "expired", "token-used", "replaced"})
"""What the relay says inside a session, or an encrypted answer, after which coming again is no
use.
"""

PASSING = frozenset({"busy", "shutdown"})
"""What a relay says that will soon take us."""
_OURSELVES = frozenset({"revoked", "expired"})


@dataclass(frozen=True, slots=True)
class Words:
    """What the codes of SR1 mean to somebody in one situation.

    Args:
        relay: which relay was expected.
        proof: what it means that ours was not accepted.
        said: what else the relay says, and what it means.
    """

    relay: str
    proof: str
    said: dict[str, str]


CONNECTING = Words(
    "the relay that this profile belongs to",
    "does not accept this profile's certificate",
    {
        "revoked": "the relay's administrator has revoked this certificate, or another key of this "
        "name has taken its place",
        "expired": "the certificate has expired; ask the relay's administrator for an invitation",
        "replaced": "newer sessions of the same name have taken the place of this one",
    },
)
JOINING = Words(
    "the relay that this invitation is for",
    "does not know this invitation; it may have been withdrawn",
    {
        "token-used": "the invitation was used already, with another key",
        "expired": "the invitation has expired; ask for a new one",
    },
)


def explain(end: End, where: str, words: Words = CONNECTING) -> SecureRelayError:
    """Turn the end of a connection into the error that its user sees.

    Args:
        end: how it ended.
        where: the relay's address, for people.
        words: in which situation.

    Returns:
        AuthenticationFailed, Refused or ConnectError.
    """
    if not end.by_peer:
        if end.code == "auth-failed":
            return AuthenticationFailed(
                end.code, f"what answers at {where} is not {words.relay} ({end.detail})"
            )
        if end.code == "timeout":
            return ConnectError(f"the relay at {where} did not answer in time")
        if end.code == "internal":
            return ConnectError(f"the connection to {where} failed here: {end.detail}")
        return ConnectError(f"what answers at {where} is no relay: {end.code} ({end.detail})")
    if end.code == "truncated":
        return ConnectError(f"the connection to the relay at {where} was cut")
    if end.code in words.said:
        kind = AuthenticationFailed if end.code in _OURSELVES else Refused
        return kind(end.code, words.said[end.code])
    if end.code == "auth-failed":
        return AuthenticationFailed(end.code, f"the relay at {where} {words.proof}")
    if end.code == "bad-line":
        # A relay with another authority cannot read our knock, and answers like this.
        return AuthenticationFailed(
            end.code,
            f"what answers at {where} is not {words.relay}: it has another certificate authority, "
            "or speaks another version of the protocol",
        )
    if end.code in ("no-common-suite", "no-common-group"):
        return AuthenticationFailed(end.code, f"the relay at {where} permits no algorithm of ours")
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
    if isinstance(problem, error.ConnectError) and problem.osError:
        # Twisted's own sentence says once more that it could not connect.
        return ConnectError(f"no relay answers at {where}: {os.strerror(problem.osError).lower()}")
    return ConnectError(f"cannot connect to the relay at {where}: {problem}")
