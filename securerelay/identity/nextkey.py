"""The key that will take the place of a profile's present one, with what belongs to it."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import LocalError
from securerelay.identity import (
    certificates,
    keyfile,
    possession,
    profile,
    profilefile,
    profiles,
    sealingkeys,
    switching,
)
from securerelay.identity.profile import Profile
from securerelay.identity.sealingkeys import SealingKeys

Succeed = Callable[[bytes, bytes], bytes]
"""Makes a succession: what the present identity key says of the next identity key
(SubjectPublicKeyInfo in DER) and the next message seed (32 bytes).
"""


class NextKey:
    """A profile's next key; :meth:`prepare` makes it.

    Args:
        owner: the profile, whose present key has been had.
        key: the next one.
    """

    def __init__(self, owner: Profile, key: rsa.RSAPrivateKey) -> None:
        self._owner = owner
        self._key = key
        self.spki = primitives.spki(key.public_key())

    @classmethod
    def prepare(
        cls,
        owner: Profile,
        succeed: Succeed,
        *,
        passphrase: bytes | None = None,
        bits: int = keyfile.DEFAULT_SIZE,
    ) -> NextKey:
        """Make the next key, or go on with the one that waits; it is on disk when this returns.

        Args:
            owner: the profile, whose present key has been had.
            succeed: signs for the present key.
            passphrase: of the present key; the next one is under the same.
            bits: the size of a key to make.

        Raises:
            LocalError: if it cannot be written, or the one that waits cannot be read.
        """
        present = owner.sealing_keys()
        folder = owner.path / switching.NEXT
        with files.locked(owner.path / profile.LOCK):
            if switching.waiting(owner.path) is not None:
                return cls(owner, keyfile.load_key(folder / profile.KEY, passphrase))
            _clear(owner)
            files.make_private_folder(folder)
            key = keyfile.generate_key(bits)
            made = cls(owner, key)
            keys = SealingKeys(
                SealingKeys.generate().seed,
                present.data_key,
                present.once or sealingkeys.once_secret(owner.key()),
            )
            told = switching.successions(owner.path) + succeed(made.spki, keys.seed)
            keyfile.save_key(folder / profile.KEY, key, passphrase)
            files.write_private(folder / profile.SEALING, sealingkeys.seal(keys, key))
            files.write_private(folder / switching.SUCCESSIONS, told)
            # Tickets are the present key's: an empty file takes their place.
            files.write_private(folder / profile.TICKETS, b"")
            files.write_private(folder / switching.PUBLIC, made.spki)
            return made

    def prove(self, session_id: bytes) -> bytes:
        """Return the proof that we have it, for one session (its id, 16 bytes)."""
        return possession.prove(self._key, session_id, self._owner.name)

    def adopt(self, certificate: bytes, *, now: datetime.datetime) -> Profile:
        """Have it take the place of the present key.

        Args:
            certificate: as the relay issued it for this key, DER.
            now: the time, aware of its zone.

        Returns:
            The profile with its next key, which has been had.

        Raises:
            CertificateError: if it is not for our name and this key, or breaks the profile.
            LocalError: if it cannot be written.
        """
        owner = self._owner
        certificates.check_enrolled(
            owner.ca_spki, certificate, name=owner.name, spki=self.spki, now=now
        )
        with files.locked(owner.path / profile.LOCK):
            facts = dataclasses.replace(
                profilefile.read(owner.path / profiles.FILE), certificate=certificate
            )
            profilefile.write(owner.path / switching.NEXT / profiles.FILE, facts)
            switching.begin(owner.path)
            switching.settle(owner.path)
        return Profile(owner.path, facts, self._key)


def _clear(owner: Profile) -> None:
    """Remove what was begun and is not complete: nobody has heard of it."""
    folder = owner.path / switching.NEXT
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise LocalError(f"cannot remove {folder}: {error.strerror}") from None
