"""Our own keys: published, renewed every hour, and destroyed once nobody needs them.

All programs of a profile share them.  What one of them makes is in the profile's database before
anybody hears of it, and the others look there for a prekey that they do not know.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from securerelay.client.calls import bundle_entry
from securerelay.client.journal import Journal
from securerelay.client.sealing import lineage
from securerelay.client.sealing.notices import COPIED, Notices
from securerelay.client.sealing.vault import OwnPrekey, Vault, scrub
from securerelay.client.state import State
from securerelay.crypto import hpke
from securerelay.errors import Refused, RemoteError, SecureRelayError
from securerelay.identity import switching
from securerelay.identity.profile import Profile
from securerelay.protocol import lines
from securerelay.sealing import bundle, prekeys, succession
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.prekeys import Prekey

SOON = 600_000
"""Milliseconds after which a program that connects publishes a new bundle."""
ENOUGH = 384
"""Prekeys above which none is made, until some are destroyed."""
NUMBER, PUBLISHED, DRAINED = "own.number", "own.published", "drained"
BEGINS = "own.begins."
"""Before the number of a key, counted from 1: the bundle with which that key came."""
TRIES = 4
"""Bundles offered in a row to a relay that always has a newer one."""

Call = Callable[[str, "dict[str, typing.Any]"], Awaitable["dict[str, typing.Any]"]]


class OwnKeys:
    """Message key, prekeys and bundle of a profile.

    Args:
        profile: enrolled; its key has been had.
        vault: what is kept.
        journal: where.
        call: asks the relay.
        notices: tells the user.

    Attributes:
        author: who signs our messages.
        number: of our newest bundle that the relay has; 0 before there is one.
    """

    _log = Logger()

    def __init__(
        self, profile: Profile, vault: Vault, journal: Journal, call: Call, notices: Notices
    ) -> None:
        self._profile = profile
        self._vault = vault
        self._journal = journal
        self._call = call
        self._notices = notices
        self._prekeys: dict[bytes, Prekey] = {}
        self._numbers: dict[bytes, int] = {}
        self._former = lineage.former(profile)
        self._begins: list[int] = []
        self._waiting: list[Deferred[None]] = []
        self._error: SecureRelayError | None = None
        self._scrubbed = False
        self.number = 0
        self.author = Author(lineage.identity(profile), profile.sealing_keys().seed)

    @property
    def identity(self) -> Identity:
        """Ourselves, as contacts pin us."""
        return self.author.identity

    @property
    def fps(self) -> frozenset[bytes]:
        """Our fingerprint, and those that it followed."""
        return frozenset((self.identity.fp, *(one.old.fp for one in self._former)))

    def published(self) -> Deferred[None]:
        """Say when the relay has a bundle of ours: before, nobody could check what we seal.

        Raises:
            SecureRelayError: through the Deferred, if it did not take one.
        """
        waiting: Deferred[None] = Deferred()
        if self.number:
            waiting.callback(None)
        elif self._error is not None:
            waiting.errback(self._error)
        else:
            self._waiting.append(waiting)
        return waiting

    def prekey(self, one: bytes) -> hpke.PrivateKey | None:
        """Return a prekey of ours by its id (8 bytes), if this program knows it."""
        found = self._prekeys.get(one)
        return found.key if found is not None else None

    def meant(self, one: bytes) -> Identity:
        """Return who is meant by what is sealed to a prekey: ourselves, perhaps as we were."""
        number = self._numbers.get(one)
        if number is not None:
            for at, former in enumerate(self._former):
                if at == len(self._begins) or number < self._begins[at]:
                    return former.old
        return self.identity

    async def look_up(self) -> None:
        """Learn of prekeys that other programs of the profile have made."""
        known = frozenset(self._prekeys)

        def job(state: State) -> tuple[list[OwnPrekey], list[int]]:
            return self._vault.prekeys(state, known), self._begun(state)

        found, self._begins = await self._journal.do(job, write=False)
        self._remember((own.prekey, own.number) for own in found)

    def _remember(self, found: Iterable[tuple[Prekey, int]]) -> None:
        for prekey, number in found:
            self._prekeys[prekey.id], self._numbers[prekey.id] = prekey, number

    def _begun(self, state: State) -> list[int]:
        """Return with which bundle each identity after the first began; the last may not have."""
        begins = [
            self._vault.fact(state, f"{BEGINS}{at}") for at in range(1, len(self._former) + 1)
        ]
        return begins if 0 not in begins else begins[: begins.index(0)]

    # -- publishing

    async def publish(self) -> None:
        """Have the relay serve keys of ours that are new enough.

        Raises:
            Refused: the relay does not take them.
            ConnectError: there is no connection.
        """
        self._error = None
        try:
            await self._publish()
        except SecureRelayError as error:
            self._error = error
            self._tell(error)
            raise

    async def _publish(self) -> None:
        await self.look_up()
        number, due = await self._journal.do(self._standing, write=False)
        if number and len(self._begins) == len(self._former):
            self._have(number)  # an earlier program heard the relay say so
        # Also before a new one is made: only the relay knows what a copy of us has published.
        if await self._is_served(number) and not due:
            return
        for _ in range(TRIES):
            if await self._offer():
                return
            if await self._is_served(0):
                return
        raise Refused("stale", "another program publishes keys in our name all the time")

    def _standing(self, state: State) -> tuple[int, bool]:
        """Return the number of our newest bundle, and whether a new one is due."""
        vault = self._vault
        number, age = vault.fact(state, NUMBER), self._journal.now() - vault.fact(state, PUBLISHED)
        fresh = 0 <= age < SOON or vault.count_prekeys(state) > ENOUGH
        fresh = fresh and len(self._begun(state)) == len(self._former)
        if number not in vault.prekey_numbers(state):
            # A restored backup: nobody shall answer to keys that we do not have.
            return 0, True
        return number, not fresh

    async def _is_served(self, number: int) -> bool:
        """Tell whether what the relay serves as ours is ours.

        Args:
            number: of our newest bundle as far as we know.
        """
        name = self._profile.name
        raw = bundle_entry(await self._call("key.fetch", {"peers": [name]}), name).get("bundle")
        if not raw:
            return False
        if not isinstance(raw, str):
            raise RemoteError("protocol", "key.fetch answered with a bundle that is none")
        found = bundle.read(lines.decode(raw), name, self._profile.ca_spki)
        if found.identity.fp != self.identity.fp:
            return False  # we were somebody else when we published that, or somebody else is us
        served = found.number
        if served != number:
            own = await self._journal.do(self._vault.prekey_numbers, write=False)
            if served not in own:
                if served > max(own, default=0):
                    self._notices.show(COPIED, name)
                    await self._journal.do(
                        lambda state: self._vault.set_fact(state, NUMBER, served)
                    )
                return False
        self._have(served)
        return True

    async def _offer(self) -> bool:
        """Make a prekey and publish it; tells whether the relay took it as the newest."""
        prekey, vault, now = Prekey.generate(), self._vault, self._journal.now()

        def keep(state: State) -> int:
            newest = max(vault.prekey_numbers(state), default=0)
            number = bundle.next_number(max(newest, vault.fact(state, NUMBER)), now)
            vault.add_prekey(state, prekey, number, now)
            if len(self._begun(state)) < len(self._former):
                # Whatever was sealed to a prekey from before this was sealed to who we were.
                for at in range(1, len(self._former) + 1):
                    begun = vault.fact(state, f"{BEGINS}{at}")
                    vault.set_fact(state, f"{BEGINS}{at}", begun or number)
            self._begins = self._begun(state)
            return number

        number = await self._journal.do(keep)
        self._remember([(prekey, number)])
        self._profile.reload()
        raw = bundle.build(
            self._profile.key(),
            self.identity,
            self._profile.certificate,
            number=number,
            issued=now,
            prekey=prekey.public,
            successions=succession.split(switching.successions(self._profile.path)),
        )
        try:
            await self._call("key.publish", {"bundle": lines.encode(raw)})
        except Refused as refusal:
            if refusal.code != "stale":
                raise
            return False

        def note(state: State) -> None:
            vault.set_fact(state, NUMBER, max(number, vault.fact(state, NUMBER)))
            vault.set_fact(state, PUBLISHED, now)
            vault.supersede_prekeys(state, number, self._journal.now())

        await self._journal.do(note)
        self._have(number)
        return True

    def _have(self, number: int) -> None:
        self.number = max(self.number, number)
        self._tell(None)

    def _tell(self, result: SecureRelayError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(result) if result is None else one.errback(result)

    # -- destroying

    async def drained(self, since: int) -> None:
        """Destroy what nobody needs any more.

        Args:
            since: when a LISTEN was answered of which everything is processed by now, Unix ms;
                0 for none.
        """
        vault, now = self._vault, self._journal.now()

        def job(state: State) -> tuple[list[bytes], set[bytes]]:
            drained = max(since, vault.fact(state, DRAINED))
            vault.set_fact(state, DRAINED, drained)
            named = {message.key for message in vault.unopened(state) if message.body is not None}
            lives = vault.prekey_lives(state)
            gone = [
                one
                for one, superseded in lives
                if prekeys.may_be_destroyed(superseded, drained or None, one in named, now)
            ]
            vault.destroy_prekeys(state, gone)
            return gone, {one for one, _ in lives}.difference(gone)

        gone, left = await self._journal.do(job)
        # Also what other programs of the profile have destroyed.
        for one in self._prekeys.keys() - left:
            del self._prekeys[one], self._numbers[one]
        if gone or not self._scrubbed:
            # Also once in a run: the program before may have ended in between.
            self._scrubbed = await self._journal.outside(scrub)
