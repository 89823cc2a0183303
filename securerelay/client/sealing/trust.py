"""Whom we trust, as people look at it and decide: contacts, safety numbers, keys to accept.

Nothing here needs a connection.  Programs that are connected meanwhile see a decision when they
next look at the contact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from securerelay.client.sealing import ended
from securerelay.client.sealing.vault import Contact, Notice, Vault
from securerelay.client.state import State
from securerelay.crypto import primitives
from securerelay.errors import LocalError, UnknownContact
from securerelay.identity.profile import Profile
from securerelay.sealing import fingerprint, pins
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.pins import Pin

T = TypeVar("T")


class Trust:
    """What a profile knows of others, and what its user says of it.

    Args:
        profile: an enrolled one, whose key has been had.
        now: Unix seconds.

    Raises:
        ProfileError: if it has not joined its relay.
        StorageError: if its database cannot be used.
    """

    def __init__(self, profile: Profile, now: Callable[[], float] = time.time) -> None:
        keys = profile.sealing_keys()
        self.identity = Identity(
            profile.relay_id,
            profile.name,
            profile.peer.spki,
            primitives.ed25519_public(keys.seed),
        )
        self._vault = Vault(profile.relay_id, keys.data_key)
        self._state = State(profile.path)
        self._now = now

    def close(self) -> None:
        """Close the database."""
        self._state.close()

    def __enter__(self) -> Trust:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- looking

    def contacts(self) -> list[Contact]:
        """List everybody known, by name."""
        return self._run(self._vault.contacts, write=False)

    def ended(self) -> dict[str, str]:
        """Return how contacts' names have ended, ``peer-revoked`` or ``peer-closed``, by name."""
        return self._run(ended.all_of, write=False)

    def contact(self, name: str) -> Contact:
        """Return somebody known.

        Raises:
            UnknownContact: if nothing is known of the name.
        """
        return self._run(lambda state: self._known(state, name), write=False)

    def notices(self, limit: int) -> list[Notice]:
        """List what the user was shown, the oldest first."""
        return self._run(lambda state: self._vault.notices(state, limit), write=False)

    def safety_number(self, other: Identity) -> str:
        """Return the number to compare with somebody: twelve groups of five digits."""
        return fingerprint.safety_number(self.identity.fp, other.fp)

    def qr_text(self, other: Identity) -> str:
        """Return what our QR code says to somebody."""
        return fingerprint.qr_text(self.identity.fp, other.fp)

    def qr_matches(self, scanned: str, other: Identity) -> bool:
        """Tell whether a scanned code is somebody's, made for us."""
        return fingerprint.qr_matches(scanned, self.identity.fp, other.fp)

    # -- deciding

    def verify(self, compared: Identity) -> Contact:
        """Note that a contact's fingerprint was compared.

        Args:
            compared: who the contact is, or who the relay offers in its place; the latter is
                accepted with this.

        Raises:
            UnknownContact: if nothing is known of the name.
            LocalError: if it is neither by now, or the name has ended; nothing is noted then.
        """

        def verified(pin: Pin) -> Pin:
            if pin.blocked is not None and pin.blocked.fp == compared.fp:
                pin = pins.accept_new_key(pin)
            if pin.fp != compared.fp:
                raise LocalError(f"{compared.name}'s key changed meanwhile; compare again")
            return pins.verify(pin)

        return self._change(compared.name, verified)

    def accept_new_key(self, name: str) -> Contact:
        """Take the key that the relay offers for a contact in the place of the one held.

        Raises:
            UnknownContact: if nothing is known of the name.
            LocalError: if nothing is blocked, or the name has ended.
        """

        def accepted(pin: Pin) -> Pin:
            if pin.blocked is None:
                raise LocalError(f"no new key of {name} waits to be accepted: nothing is blocked")
            return pins.accept_new_key(pin)

        return self._change(name, accepted)

    def _change(self, name: str, change: Callable[[Pin], Pin]) -> Contact:
        def job(state: State) -> Contact:
            contact, gone = self._known(state, name), ended.find(state, name)
            if gone:
                raise LocalError(ended.words(name, gone[0]))
            pin = change(contact.pin)
            changed = replace(contact, pin=pin, since=int(self._now() * 1000))
            if pin.fp != contact.pin.fp:  # the bundle was the old one's
                changed = replace(changed, bundle=None, fetched=0)
            self._vault.save_contact(state, changed)
            return changed

        return self._run(job)

    def _known(self, state: State, name: str) -> Contact:
        contact = self._vault.contact(state, name)
        if contact is None:
            raise UnknownContact(f"no keys of {name} are known here yet")
        return contact

    def _run(self, job: Callable[[State], T], write: bool = True) -> T:
        (result,) = self._state.run([job], write)
        if isinstance(result, Exception):
            raise result
        answer: T = result
        return answer
