"""Messages that a recipient could not open, asked for and sent again.

Who lost the keys that a message was sealed with asks its sender, once.  The sender sends it again
to the very keys it was meant for; whether others may have it is for people to say.
"""

from __future__ import annotations

from collections.abc import Callable

from securerelay.client.entry import Entry
from securerelay.client.journal import Journal
from securerelay.client.rows import QUEUED, Outgoing
from securerelay.client.sealing.accounts import stream_name
from securerelay.client.sealing.letters import PLAIN, unpack
from securerelay.client.sealing.notices import ASKED_BY_OTHERS, Notices
from securerelay.client.sealing.opener import Arrival
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.vault import Unopened, Vault
from securerelay.client.state import State
from securerelay.sealing.envelope import Opened
from securerelay.sealing.plaintext import Place
from securerelay.sealing.resend import Resend, may_resend

MOST = 4096
"""Answers that are remembered, so that none is given twice by one program."""

Tell = Callable[[str, str, bytes], None]


class Resending:
    """Asks, and answers.

    Args:
        own: our keys.
        vault: what is kept.
        journal: where.
        notices: tells the user.
        tell: sends something to another client that is not for people.
        post: sends a message.
    """

    def __init__(
        self,
        own: OwnKeys,
        vault: Vault,
        journal: Journal,
        notices: Notices,
        tell: Tell,
        post: Callable[[Entry], None],
    ) -> None:
        self._own = own
        self._vault = vault
        self._journal = journal
        self._notices = notices
        self._tell = tell
        self._post = post
        self._answered: set[tuple[str, int]] = set()

    async def ask(self, arrival: Arrival) -> None:
        """Ask for a message that does not open, unless that was done before."""
        said = arrival.delivery
        stream = stream_name(said.stream)

        def look(state: State) -> Unopened | None:
            for one in self._vault.unopened(state, sender=said.sender, key=arrival.key_id):
                if (one.stream, one.seq) == (stream, said.seq) and not one.asked:
                    return one
            return None

        one = await self._journal.do(look, write=False)
        if one is not None:
            # In one turn, so that the request reaches the disk together with the note of it.
            asking, now = Resend(said.stream, said.seq, self._own.number), self._journal.now()
            self._tell(said.sender, Resend.CONTENT_TYPE, asking.body())
            await self._journal.do(lambda state: self._vault.note_asked(state, one, now))

    async def asked(self, opened: Opened, arrival: Arrival) -> None:
        """Send again what somebody asks for, if it was for that very one."""
        wish, asker = Resend.read(opened.content.body), opened.sender

        place = (stream_name(wish.stream), wish.seq)
        found = await self._journal.do(lambda state: _kept(state, *place), write=False)
        if found is None or found[0].to != asker.name or place in self._answered:
            return
        message, sent = found
        may = may_resend(message.bound or b"", asker.fp, sent, self._journal.now())
        if may is None:
            self._notices.show(ASKED_BY_OTHERS, asker.name)
        if not may:
            return
        if len(self._answered) >= MOST:
            self._answered.clear()
        self._answered.add(place)
        entry = unpack(self._vault, message)
        assert entry.letter is not None, "only letters are sent again"
        entry.letter.replaces = Place(wish.stream, wish.seq, message.place)
        entry.letter.index, entry.letter.bound = 0, b""
        entry.seq, entry.journaled = 0, False
        self._post(entry)


def _kept(state: State, stream: str, seq: int) -> tuple[Outgoing, int] | None:
    """Read a message that the relay has, and when it was journaled (Unix ms)."""
    row = state.db.execute(
        "SELECT recipient, ttl, receipt, body, size, form, place, bound, replaces, queued "
        "FROM message WHERE id = (SELECT id FROM stream WHERE name = ?) << 40 | ? "
        "AND form != ? AND state != ? AND body IS NOT NULL",
        (stream, seq, PLAIN, QUEUED),
    ).fetchone()
    return None if row is None else (Outgoing(seq, *row[:-1]), row[-1])
