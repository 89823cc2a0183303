"""The one tree of errors: what the other side did wrong, and what we did.

A :class:`RemoteError` carries the code that the protocol has for it; its ``detail`` is for the log
and never leaves this machine.  A :class:`LocalError` carries one clear sentence for the person in
front of it.
"""

from __future__ import annotations


class SecureRelayError(Exception):
    """The root of everything that SecureRelay raises on purpose."""


class RemoteError(SecureRelayError):
    """The other side broke a rule, or refused something.

    Args:
        code: the protocol's word for it, such as ``bad-line`` or ``auth-failed`` (SR1 sections 3 to
            5).
        detail: what exactly was wrong; for the log alone.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class CertificateError(RemoteError):
    """A certificate breaks the profile of SR1 section 3; on the wire always ``auth-failed``."""

    def __init__(self, detail: str) -> None:
        super().__init__("auth-failed", detail)


class AuthenticationFailed(RemoteError):
    """The other end could not prove who it is, or did not believe who we are."""


class Refused(RemoteError):
    """A well-formed request got a final no: ``unknown``, ``offline``, ``not-permitted``, ..."""


class LocalError(SecureRelayError):
    """Something is wrong on this side.

    Args:
        message: one sentence that says what, and what to do about it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadName(LocalError):
    """A name that no peer or room can have."""


class ConfigError(LocalError):
    """A configuration that cannot be used."""


class KeyFileError(LocalError):
    """A key file that cannot be read."""


class WrongPassphrase(KeyFileError):
    """A key file whose passphrase is another one."""


class ProfileError(LocalError):
    """A profile that is missing, incomplete or in use."""


class KeyReplaced(ProfileError):
    """A profile that has got another key since a program opened it."""


class UnknownContact(LocalError):
    """A peer of whom no keys are known here."""


class InvitationError(LocalError):
    """An invitation that is mistyped, expired or none at all."""


class StorageError(LocalError):
    """A data folder or database that cannot be used."""


class FolderLocked(StorageError):
    """A data folder that another process holds."""


class ConnectError(LocalError):
    """The relay cannot be reached."""


class TimedOut(LocalError):
    """What was waited for did not happen in time."""
