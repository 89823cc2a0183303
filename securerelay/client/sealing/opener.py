"""Opens what comes: each message once, in order, checked against pins and accounts.

What does not open is kept or dropped, and shown; nothing unsealed is shown as a peer's, unless that
peer is said to write so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from securerelay.client.inbox import Came, Inbox, Message
from securerelay.client.journal import Journal
from securerelay.client.sealing.accounts import Accounts, Counted, excuse, keep, stream_name
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import UNSEALED, Notices
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.vault import Unopened, Vault
from securerelay.client.state import State
from securerelay.errors import ConnectError, RemoteError, TimedOut
from securerelay.protocol import lines, sealed
from securerelay.protocol.sealed import DIRECT, ROOM, DirectHeader, RoomHeader
from securerelay.sealing import envelope, pins, resend
from securerelay.sealing.envelope import Delivery, Opened
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.plaintext import STREAM_SIZE, Content
from securerelay.sealing.verdicts import Rejected, Then, Verdict

LOOK_AGAIN = 60_000
"""Milliseconds after which the relay is asked again who writes in a name under an unknown sender
id: all other messages wait for the answer.
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sealed message as it came.

    Args:
        n: its number in our mailbox; negative if it was kept unopened before.
        delivery: what the relay says of it.
        header: what anybody can read of it.
        body: all of it.
        time: when the relay accepted it, Unix ms.
    """

    n: int
    delivery: Delivery
    header: DirectHeader | RoomHeader
    body: bytes
    time: int

    @property
    def key_id(self) -> bytes:
        """The prekey or room key that it names."""
        header = self.header
        return header.prekey_id if isinstance(header, DirectHeader) else header.key_id


async def _nothing(arrival: Arrival) -> None:
    """Let a message be lost."""


OpenSuite = Callable[[Arrival, Identity], Awaitable[Opened]]
Handle = Callable[[Opened, Arrival], Awaitable[None]]


class Opener:
    """Opens the messages of an inbox.

    Args:
        own: opens.
        contacts: who wrote.
        vault: keeps what does not open.
        journal: where.
        notices: tells the user.
        plain: peers and rooms whose messages need not be sealed.

    Attributes:
        suites: how to open, by the suite in the header.
        control: what to do with messages that are not for people, by content type; done before
            they count as dealt with, so perhaps twice.
        told: hears which key log a sender has seen, as size and root.
        shown: hears what people get to see: its number, who wrote it, and what.
        read: hears the numbers of what was dealt with.
        inbox: whose messages are opened.
        lost: what to do about a message whose keys we do not have any more; perhaps twice.
    """

    _log = Logger()
    inbox: Inbox

    def __init__(
        self,
        own: OwnKeys,
        contacts: Contacts,
        vault: Vault,
        journal: Journal,
        notices: Notices,
        plain: Collection[str] = (),
    ) -> None:
        self._own = own
        self._contacts = contacts
        self._vault = vault
        self._journal = journal
        self._notices = notices
        self._plain = frozenset(plain)
        self._accounts = Accounts(journal)
        self._looked: dict[str, int] = {}
        self.suites: dict[int, OpenSuite] = {DIRECT: self._open_direct}
        self.control: dict[str, Handle] = {}
        self.lost: Callable[[Arrival], Awaitable[None]] = _nothing
        self.told: Callable[[str, tuple[int, bytes]], None] = lambda name, sight: None
        self.shown: Callable[[int, str, Content], None] = lambda n, name, content: None
        self.read: Callable[[Sequence[int]], None] = lambda numbers: None

    # -- what the inbox asks

    async def take(self, came: Came) -> None:
        """Do with a message what is to be done with it; the next one waits meanwhile."""
        n, sender, to, stream, seq, time, body = came
        name = sender.decode()
        try:
            header = sealed.read_header(body)
        except RemoteError:
            await self._take_plain(came)
            return
        try:
            # Whoever sends chooses its stream's name: it may stand for no bytes.
            place = lines.decode(stream.decode(), STREAM_SIZE)
        except RemoteError:
            self._notices.show(Verdict.MISDIRECTED, name)
            self.inbox.drop(n)
            return
        delivery = Delivery(name, to.decode(), place, seq)
        arrival = Arrival(n, delivery, header, body, time)
        try:
            identity = await self._sender(name, header.sender_id)
            key = (self._contacts.first(name, identity).hex(), stream.decode())
            await self.inbox.recall((key,))
            if self.inbox.has(key, seq):
                self.inbox.drop(n)
                return
            opened = await self._open(arrival, identity)
            await self._accept(arrival, opened, key)
        except Rejected as rejected:
            await self._not_opened(arrival, rejected.verdict)

    def dealt(self, numbers: Sequence[int]) -> Callable[[State], None]:
        """Return what is to be noted on disk when messages are dealt with."""
        counted = [one for one in map(self._accounts.dealt, numbers) if one is not None]
        kept = [-n for n in numbers if n < 0]
        now = self._journal.now()
        self.read(numbers)

        def note(state: State) -> None:
            keep(state, counted, now)
            self._vault.drop_unopened(state, kept)

        return note

    def refresh(self) -> None:
        """Look at the disk again: other processes may have listened meanwhile."""
        self._accounts.refresh()

    async def _take_plain(self, came: Came) -> None:
        n, sender, to, stream, seq, time, body = came
        name = sender.decode()
        if name not in self._plain and to.decode() not in self._plain:
            self._notices.show(UNSEALED, name)
            self.inbox.drop(n)
            return
        key = (name, stream.decode())
        await self.inbox.recall((key,))
        if self.inbox.has(key, seq):
            self.inbox.drop(n)
            return
        message = Message(name, to.decode(), body, time, n, key[1], seq, self.inbox)
        self.inbox.show(message, ((key, seq),))

    # -- who wrote

    async def _sender(self, name: str, sender_id: bytes) -> Identity:
        """Return who has a sender id, asking the relay if nobody known has it.

        Raises:
            Rejected: ``unchecked`` if that is not to be had.
        """
        await self._contacts.look_up((name,))
        now = self._journal.now()
        identity = self._known(name, sender_id)
        asked = self._looked.get(name, -LOOK_AGAIN)
        if identity is None and not 0 <= now - asked < LOOK_AGAIN:
            if len(self._looked) >= 4096:
                self._looked.clear()
            self._looked[name] = now
            await self._ask_for(name)
            identity = self._known(name, sender_id)
        if identity is None:
            raise Rejected(Verdict.UNCHECKED, "nobody pinned has this sender id")
        return identity

    def _known(self, name: str, sender_id: bytes) -> Identity | None:
        pin = self._contacts.pin(name)
        return pins.sender(pin, sender_id, self._journal.now()) if pin is not None else None

    async def _ask_for(self, name: str) -> None:
        while True:
            try:
                await self._contacts.renew(name)
            except (ConnectError, TimedOut):
                # What comes behind waits too: only the relay can say who wrote.
                self.inbox.check()
                continue
            except RemoteError:
                pass
            return

    # -- what it says

    async def _open(self, arrival: Arrival, sender: Identity) -> Opened:
        suite = DIRECT if isinstance(arrival.header, DirectHeader) else ROOM
        opens = self.suites.get(suite)
        if opens is None:
            raise Rejected(Verdict.ALTERED, "a suite that is not used here")
        return await opens(arrival, sender)

    async def _open_direct(self, arrival: Arrival, sender: Identity) -> Opened:
        if self._own.prekey(arrival.key_id) is None:
            await self._own.look_up()
        return envelope.unseal(
            arrival.body,
            arrival.delivery,
            self._own.meant(arrival.key_id),
            lambda _: sender,
            self._own.prekey,
        )

    async def _accept(self, arrival: Arrival, opened: Opened, key: tuple[str, str]) -> None:
        """Account for a message that was verified, and show it or do what it asks for."""
        content, inbox, n = opened.content, self.inbox, arrival.n
        name = arrival.delivery.sender
        keys, double, kept = [(key, content.seq)], False, n < 0
        if content.replaces is not None:
            before = (key[0], stream_name(content.replaces.stream))
            await inbox.recall((before,))
            double = inbox.has(before, content.replaces.seq)
            keys.append((before, content.replaces.seq))
            kept = await self._forget_unopened(name, *keys[1]) or kept
        await self._account(n, Counted(bytes.fromhex(key[0]), content), name, kept)
        self._contacts.hear(name, content.bundle)
        if content.log_head is not None:
            self.told(name, content.log_head)
        handle = self.control.get(content.content_type)
        if handle is not None and not double:
            await self._do(handle, opened, arrival)
        elif not double:
            self.shown(n, name, content)
        pin = self._contacts.pin(name)
        message = Message(
            name,
            content.to,
            content.body,
            arrival.time,
            n,
            key[1],
            content.seq,
            inbox,
            content.content_type,
            pin.level.value if pin is not None else None,
            sealed=True,
        )
        inbox.show(message, keys, hidden=double or handle is not None)

    async def _do(self, handle: Handle, opened: Opened, arrival: Arrival) -> None:
        """Do what another client asks for; what is nonsense, or fails, is dealt with all the same.

        It would come again with every connection otherwise, and stop what comes behind it.
        """
        try:
            await handle(opened, arrival)
        except Rejected as rejected:
            self._notices.show(rejected.verdict, arrival.delivery.sender)
        except (ConnectError, RemoteError, TimedOut) as error:
            self._log.info("a client asked in vain: {error}", error=error)

    async def _account(self, n: int, counted: Counted, name: str, kept: bool) -> None:
        """Account for a message, and tell what is missing; nothing is of what waits unopened.

        Args:
            n: its number.
            counted: what it says of indices.
            name: its sender.
            kept: whether it waited itself.
        """
        await self._accounts.look_up(counted)
        news = self._accounts.arrive(n, counted)
        missing = sum(news.gaps.values())
        if missing:
            to = counted.content.to
            missing -= await self._journal.do(lambda state: excuse(state, name, to, news.gaps, -n))
        if missing:
            self._notices.show(Verdict.MISSING, name, count=missing)
        if news.late and not kept:
            self._notices.show(Verdict.LATE, name)

    async def _forget_unopened(self, sender: str, key: tuple[str, str], seq: int) -> bool:
        """Forget what came anew; tells whether it waited."""

        def job(state: State) -> bool:
            kept = self._vault.unopened(state, sender=sender)
            gone = [one.id for one in kept if (one.stream, one.seq) == (key[1], seq)]
            self._vault.drop_unopened(state, gone)
            return bool(gone)

        return await self._journal.do(job)

    # -- what does not open

    async def _not_opened(self, arrival: Arrival, verdict: Verdict) -> None:
        """Keep a message that may open later; tell of all others."""
        said, now = arrival.delivery, self._journal.now()
        again = arrival.n < 0
        if verdict.then not in (Then.ASKED, Then.WAITS):
            self._notices.show(verdict, said.sender)
            if again:
                await self._journal.do(
                    lambda state: self._vault.drop_unopened(state, (-arrival.n,))
                )
            self.inbox.drop(arrival.n)
            return
        if again:
            self.inbox.drop(arrival.n)
            return
        # A prekey that is gone never comes back: its owner can only send anew.
        body = None if verdict is Verdict.UNKNOWN_PREKEY else arrival.body
        kept = Unopened(
            *(arrival.n, said.sender, said.to, stream_name(said.stream), said.seq, arrival.time),
            *(arrival.key_id, verdict.value, now, body),
        )
        new = await self._journal.do(lambda state: self._vault.keep_unopened(state, kept))
        # A room key is often only a moment behind; if not, it is told when it is asked for.
        if new is None:
            self._notices.show(Verdict.UNREADABLE, said.sender)
        elif new and verdict is not Verdict.KEY_MISSING:
            self._notices.show(verdict, said.sender)
        if verdict is Verdict.UNKNOWN_PREKEY:
            await self.lost(arrival)
        self.inbox.drop(arrival.n)

    async def retry(self, *, sender: str | None = None, key: bytes | None = None) -> None:
        """Open again what was kept, in order; call it when a key or a list has come.

        Args:
            sender: only this peer's.
            key: only what names this key.
        """
        vault, now = self._vault, self._journal.now()

        def job(state: State) -> tuple[list[Unopened], list[Unopened]]:
            kept = vault.unopened(state, sender=sender, key=key)
            too_old = now - resend.KEPT
            old = [one for one in kept if one.came <= too_old]
            vault.drop_unopened(state, [one.id for one in old])
            return old, [one for one in kept if one.came > too_old]

        old, kept = await self._journal.do(job)
        for name, count in Counter(one.sender for one in old).items():
            self._notices.show(Verdict.UNREADABLE, name, count=count)
        for one in kept:
            if one.body is not None:
                said = one.sender.encode(), one.to.encode(), one.stream.encode()
                self.inbox.again((-one.id, *said, one.seq, one.time, one.body))
