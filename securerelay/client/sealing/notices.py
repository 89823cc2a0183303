"""What the user is told of sealing: as events of the client, and kept in the profile."""

from __future__ import annotations

from collections.abc import Callable

from securerelay.client.calls import Event
from securerelay.client.journal import Journal
from securerelay.client.sealing.vault import Notice, Vault
from securerelay.sealing.verdicts import Verdict

COPIED = "profile-copied"
UNSEALED = "unsealed"
ASKED_BY_OTHERS = "resend-refused"
ASKS_TO_JOIN = "asks-to-join"
LEFT_ROOM = "left-room"
HIDDEN_LOG = "log-hidden"

_WORDS = {
    COPIED: "this profile was restored or copied: another one publishes keys as {peer}; new ones "
    "are published now",
    UNSEALED: "unsealed message in {peer}'s name",
    ASKED_BY_OTHERS: "{peer} asks for a message again that was sealed for another key of theirs; "
    "send it anew if they shall have it",
    HIDDEN_LOG: "the relay's policy hides its key log; whether somebody else has a certificate as "
    "{peer} could not be checked",
    LEFT_ROOM: "{peer} is in {room} no more; who signs its list of members takes the name off",
    ASKS_TO_JOIN: "{peer} asks to be in {room}; to agree: securerelay room add {room} {peer}",
}
"""Words for what is no verdict about something sealed."""


class Notices:
    """Tells and keeps notices.

    Args:
        vault: what is kept.
        journal: where.
        tell: passes an event to whoever reads the client's.
    """

    def __init__(self, vault: Vault, journal: Journal, tell: Callable[[Event], None]) -> None:
        self._vault = vault
        self._journal = journal
        self._tell = tell

    def show(self, what: Verdict | str, peer: str, **values: object) -> None:
        """Tell the user something; it is on disk a moment later.

        Args:
            what: a verdict, or one of the names in this module.
            peer: the peer or room that it is about, a valid name.
            values: what its words have places for; part of the event too.
        """
        if isinstance(what, Verdict):
            name, said = what.value, what.words(**{"peer": peer, "room": peer, **values})
        else:
            name, said = what, _WORDS[what].format(peer=peer, **values)
        self.say(name, peer, said, **values)

    def say(self, name: str, peer: str, said: str, **values: object) -> None:
        """Tell the user something in words that are not from the table.

        Args:
            name: what it is called in logs and in JSON.
            peer: the peer or room that it is about, a valid name.
            said: the words.
            values: more for the event.
        """
        self._tell(Event("notice", {"verdict": name, "words": said, "peer": peer, **values}))
        notice = Notice(self._journal.now(), name, peer, said)
        self._journal.do(lambda state: self._vault.add_notice(state, notice)).addErrback(
            lambda _: None  # it was told; a disk that fails shows elsewhere
        )
