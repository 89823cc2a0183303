"""Exit statuses, and the sentence and the code that an error is told by.

A program that calls ``securerelay`` learns from the status what became of its wish:

====== =============================================================================================
status meaning
====== =============================================================================================
0      reached what was asked for
1      anything that has no status of its own
2      usage: an unknown option, a missing argument, a name that no peer can have
3      the relay cannot be reached, or the connection was lost
4      a key, passphrase, certificate or invitation was not accepted, here or by the relay
5      no such peer or room
6      the peer is offline, and the message was not to be kept
7      it took too long
8      a quota: a full mailbox or disk, too many messages a second, members or rooms
9      keys that are not to be trusted as they are, or not to be had: nothing is sealed with them
10     an audit found the relay weaker than it need be (C or D)
11     an audit found the relay not safe, or another one (F)
128+n  ended by signal n: 130 for Ctrl-C; 141 when whoever read the output went away
====== =============================================================================================
"""

from __future__ import annotations

import signal

from securerelay import errors
from securerelay.text import printable

REACHED = 0
OTHER = 1
USAGE = 2
UNREACHABLE = 3
UNAUTHENTICATED = 4
UNKNOWN = 5
OFFLINE = 6
TIMEOUT = 7
QUOTA = 8
UNTRUSTED = 9
WEAK = 10
UNSAFE = 11
INTERRUPTED = 128 + signal.SIGINT
READER_GONE = 128 + signal.SIGPIPE


class Failure(errors.LocalError):
    """A verb that cannot do what it was asked.

    Args:
        code: what ``--json`` tells programs, and what the exit status follows from.
        message: one sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(errors.SecureRelayError):
    """A signal ended the work; the exit status is 128 and its number.

    Args:
        signal_number: such as 2 for Ctrl-C.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.status = 128 + signal_number


class ReaderGone(errors.SecureRelayError):
    """Whoever read our output has closed the pipe: end, and say nothing."""


_STATUS = {
    "usage": USAGE,
    "bad-name": USAGE,
    "connect": UNREACHABLE,
    "lost": UNREACHABLE,
    "truncated": UNREACHABLE,
    "record": UNREACHABLE,
    "shutdown": UNREACHABLE,
    "busy": UNREACHABLE,
    "no-common-suite": UNREACHABLE,
    "no-common-group": UNREACHABLE,
    "auth-failed": UNAUTHENTICATED,
    "revoked": UNAUTHENTICATED,
    "expired": UNAUTHENTICATED,
    "token-used": UNAUTHENTICATED,
    "name-taken": UNAUTHENTICATED,
    "bad-line": UNAUTHENTICATED,
    "wrong-passphrase": UNAUTHENTICATED,
    "invitation": UNAUTHENTICATED,
    "unknown": UNKNOWN,
    "peer-revoked": UNKNOWN,
    "peer-closed": UNKNOWN,
    "offline": OFFLINE,
    "timeout": TIMEOUT,
    "mailbox-full": QUOTA,
    "storage-full": QUOTA,
    "rate": QUOTA,
    "too-many": QUOTA,
    "not-verified": UNTRUSTED,
    "bundle-bad": UNTRUSTED,
    "bundle-withheld": UNTRUSTED,
    "bundle-conflict": UNTRUSTED,
    "bundle-rollback": UNTRUSTED,
    "peer-away": UNTRUSTED,
    "key-changed": UNTRUSTED,
    "list-bad": UNTRUSTED,
    "list-rollback": UNTRUSTED,
    "room-conflict": UNTRUSTED,
    "room-changed-hands": UNTRUSTED,
    "foreign-leaf": UNTRUSTED,
    "split-log": UNTRUSTED,
    "log-bad": UNTRUSTED,
    "unchecked": UNTRUSTED,
    "unlisted": UNTRUSTED,
}

_NEXT = {
    "key-changed": "ask whether that is right, not through the relay, and compare the new key: "
    "securerelay verify",
    "peer-away": "it goes when new keys come",
    "bundle-bad": "if that stays so, tell the administrator",
    "bundle-withheld": "if that stays so, tell the administrator",
    "bundle-conflict": "tell the administrator",
    "bundle-rollback": "if that stays so, tell the administrator",
    "list-bad": "tell the room's owner",
    "list-rollback": "if that stays so, tell the room's owner",
    "room-conflict": "tell the room's owner",
    "room-changed-hands": "ask somebody in it, and then: securerelay room forget",
    "foreign-leaf": "have the name revoked, and tell your contacts to verify you",
    "split-log": "verify your contacts where the relay cannot listen",
    "log-bad": "tell the administrator, and verify your contacts",
    "unlisted": "if it is for services that do not seal, name it with --plain-with",
}
"""What to do about keys, lists or logs that are not to be trusted."""

_LOCAL = (
    (errors.BadName, "bad-name"),
    (errors.WrongPassphrase, "wrong-passphrase"),
    (errors.KeyFileError, "key-file"),
    (errors.UnknownContact, "unknown"),
    (errors.InvitationError, "invitation"),
    (errors.ProfileError, "profile"),
    (errors.ConfigError, "config"),
    (errors.FolderLocked, "locked"),
    (errors.StorageError, "storage"),
    (errors.ConnectError, "connect"),
    (errors.TimedOut, "timeout"),
)

_SENTENCES = {
    "auth-failed": "one side could not prove to the other who it is",
    "bad-line": "the relay at this address is another one, or did not understand us",
    "busy": "the relay is busy; try again later",
    "expired": "the certificate or invitation has expired; ask for a new invitation",
    "gap": "an earlier message was held up, and this one with it; try again",
    "lost": "the connection to the relay was lost",
    "mailbox-full": "the recipient's mailbox is full",
    "name-taken": "the name is taken, was used before, or looks too much like another one",
    "no-common-group": "the relay permits none of our key exchanges",
    "no-common-suite": "the relay permits none of our ciphers",
    "not-permitted": "the relay does not permit this",
    "offline": "the recipient is not connected, and the message was not to be kept",
    "rate": "too many messages in too short a time; try again later",
    "room-changed": "the room has changed meanwhile",
    "replaced": "a newer session of the same peer took over",
    "revoked": "this peer has been revoked",
    "shutdown": "the relay is shutting down",
    "storage-full": "the relay's storage is full; try again later",
    "timeout": "it took too long",
    "token-used": "the invitation has been used already; ask for another one",
    "too-large": "the message is larger than the relay takes",
    "truncated": "the connection to the relay was cut off",
    "unconfirmed": "the relay forgot the stream before it had answered; the message may have "
    "arrived or not, and was not sent again",
    "unsealed": "the relay takes only sealed messages for this recipient; send without "
    "--plain-with, or have the administrator name one of you in [policy] plain",
    "unknown": "the relay knows no such peer or room",
    "unknown-method": "the relay does not offer this",
}


def code_of(error: BaseException) -> str:
    """Name an error in a word that programs can rely on.

    Args:
        error: what a verb raised.

    Returns:
        The protocol's own code for what the other side said (SR1 sections 3 to 5), else a word for
        the kind.
    """
    if isinstance(error, (errors.RemoteError, Failure)):
        return error.code
    for kind, code in _LOCAL:
        if isinstance(error, kind):
            return code
    return "error"


def status_of(error: BaseException) -> int:
    """Give the exit status of an error; see the table on top of this module."""
    if isinstance(error, Interrupted):
        return error.status
    if isinstance(error, ReaderGone):
        return READER_GONE
    return _STATUS.get(code_of(error), OTHER)


def sentence_of(error: BaseException) -> str:
    """Say an error in one line that is safe to show; what the other side said is escaped."""
    if isinstance(error, errors.RemoteError):
        detail = printable(error.detail, 300)
        if error.code in ("peer-revoked", "peer-closed"):
            return detail
        if isinstance(error, (errors.AuthenticationFailed, errors.CertificateError)) and detail:
            return detail  # what exactly was wrong, found on this side
        if error.code in _NEXT and detail:
            return f"{detail}; {_NEXT[error.code]}"
        if error.code == "too-large" and detail:
            return f"{_SENTENCES[error.code]}: {detail}"
        if error.code in _SENTENCES:
            return _SENTENCES[error.code]
        return f"the relay refused: {printable(error.code)}" + (f" ({detail})" if detail else "")
    if isinstance(error, Failure) and error.code in _NEXT:
        return f"{_own(error)}; {_NEXT[error.code]}"
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return printable(f"{error.filename}: {reason}" if error.filename else reason)
    return _own(error)


def _own(error: BaseException) -> str:
    """Show a sentence of our own, in which what others wrote has been escaped already."""
    return printable(str(error)).replace("\\\\", "\\")
