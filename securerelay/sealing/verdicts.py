"""Every reason not to take something as it is, and the words in which people are told.

What is refused raises :class:`Rejected`.  Its detail is for the log; what is shown comes from the
table here, the one place that has such words.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from securerelay.errors import RemoteError
from securerelay.protocol.items import Form, Items


class Then(enum.Enum):
    """What follows a verdict."""

    HIDDEN = "not shown, counted, nothing is asked for"
    ASKED = "kept unopened; a resend or the key is asked for"
    FILLED = "late ones fill in"
    KEPT = "the message stays in the outbox"
    BLOCKED = "nothing is sealed until the contact is verified or its new key is accepted"
    NOTICE = "shown once, sending goes on"
    ALARM = "revoke the key, verify contacts"
    WAITS = "waits, its text hidden"
    SILENT = "dropped without a word"


class Verdict(enum.Enum):
    """What was found, named as in logs and in ``--json``."""

    ALTERED = "altered"
    MISDIRECTED = "misdirected"
    REMOVED_MEMBER = "removed-member"
    DUPLICATE = "duplicate"

    UNKNOWN_PREKEY = "unknown-prekey"
    KEY_MISSING = "key-missing"
    UNREADABLE = "unreadable"
    LIST_NEEDED = "list-needed"

    MISSING = "missing"
    LATE = "late"

    BUNDLE_BAD = "bundle-bad"
    BUNDLE_WITHHELD = "bundle-withheld"
    BUNDLE_CONFLICT = "bundle-conflict"
    BUNDLE_ROLLBACK = "bundle-rollback"
    PEER_AWAY = "peer-away"
    LIST_BAD = "list-bad"
    LIST_ROLLBACK = "list-rollback"
    ROOM_CONFLICT = "room-conflict"
    ROOM_CHANGED_HANDS = "room-changed-hands"

    KEY_CHANGED = "key-changed"
    KEY_FOLLOWED = "key-followed"
    MEMBER_KEY_DIFFERS = "member-key-differs"

    FOREIGN_LEAF = "foreign-leaf"
    SPLIT_LOG = "split-log"
    LOG_BAD = "log-bad"

    UNCHECKED = "unchecked"
    OLD_LIST = "old-list"

    @property
    def then(self) -> Then:
        """What follows."""
        return _SHOWN[self].then

    def words(self, **values: object) -> str:
        """Return the sentence for people.

        Args:
            values: what the sentence has places for: ``peer``, ``room``, ``count``, ``since``,
                ``version``, already fit for a terminal.
        """
        count = values.get("count", 1)
        return _SHOWN[self].words.format_map(
            {"count": 1, "messages": "message" if count == 1 else "messages", **values}
        )


@dataclass(frozen=True, slots=True)
class _Shown:
    words: str
    then: Then


_ALTERED = _Shown("altered or misdirected message in {peer}'s name", Then.HIDDEN)
_NOT_YET = _Shown("{count} {messages} from {peer} cannot be opened yet", Then.ASKED)
_OLD_KEYS = _Shown("the relay serves old keys of {peer}", Then.KEPT)
_OLD_LIST = _Shown("the relay serves an old list of members of {room}", Then.KEPT)

_SHOWN: dict[Verdict, _Shown] = {
    Verdict.ALTERED: _ALTERED,
    Verdict.MISDIRECTED: _ALTERED,
    Verdict.REMOVED_MEMBER: _Shown("message of a removed member", Then.HIDDEN),
    Verdict.DUPLICATE: _Shown("a message from {peer} that came before", Then.SILENT),
    Verdict.UNKNOWN_PREKEY: _NOT_YET,
    Verdict.KEY_MISSING: _NOT_YET,
    Verdict.UNREADABLE: _Shown(
        "{count} {messages} from {peer} cannot be opened any more", Then.HIDDEN
    ),
    Verdict.LIST_NEEDED: _NOT_YET,
    Verdict.MISSING: _Shown(
        "{count} {messages} from {peer} missing (expired or withheld)", Then.FILLED
    ),
    Verdict.LATE: _Shown("a late message from {peer}", Then.FILLED),
    Verdict.BUNDLE_BAD: _Shown("the relay serves no valid keys of {peer}", Then.KEPT),
    Verdict.BUNDLE_WITHHELD: _OLD_KEYS,
    Verdict.BUNDLE_CONFLICT: _Shown(
        "the relay serves old keys of {peer}: two sets with one number", Then.KEPT
    ),
    Verdict.BUNDLE_ROLLBACK: _OLD_KEYS,
    Verdict.PEER_AWAY: _Shown("{peer} away since {since}", Then.KEPT),
    Verdict.LIST_BAD: _Shown("the relay serves no valid list of members of {room}", Then.KEPT),
    Verdict.LIST_ROLLBACK: _OLD_LIST,
    Verdict.ROOM_CONFLICT: _Shown(
        "the relay serves an old list of members of {room}: two lists with one version", Then.KEPT
    ),
    Verdict.ROOM_CHANGED_HANDS: _Shown("the owner of {room} changed", Then.BLOCKED),
    Verdict.KEY_CHANGED: _Shown("{peer}'s key changed", Then.BLOCKED),
    Verdict.KEY_FOLLOWED: _Shown("{peer}'s key changed, signed by the old one", Then.NOTICE),
    Verdict.MEMBER_KEY_DIFFERS: _Shown(
        "{room} lists another key of {peer}, who gets no messages of yours there", Then.NOTICE
    ),
    Verdict.FOREIGN_LEAF: _Shown(
        "ALARM: the relay issued a certificate for {peer} that is not yours", Then.ALARM
    ),
    Verdict.SPLIT_LOG: _Shown(
        "ALARM: the relay shows different key logs to different people", Then.ALARM
    ),
    Verdict.LOG_BAD: _Shown("ALARM: the relay's key log does not add up", Then.ALARM),
    Verdict.UNCHECKED: _Shown("from {peer}, not yet checked", Then.WAITS),
    Verdict.OLD_LIST: _Shown("sent to the members of version {version}", Then.NOTICE),
}


class Rejected(RemoteError):
    """Something was refused.

    Args:
        verdict: which row of the table it falls under; its name is the error's code.
        detail: what exactly was wrong, for the log.
    """

    def __init__(self, verdict: Verdict, detail: str = "") -> None:
        super().__init__(verdict.value, detail)
        self.verdict = verdict


def require(holds: bool, verdict: Verdict, otherwise: str) -> None:
    """Refuse unless something holds."""
    if not holds:
        raise Rejected(verdict, otherwise)


def read(form: Form, data: bytes, verdict: Verdict) -> Items:
    """Read items, and refuse with a verdict what is not written in the one way."""
    try:
        return form.read(data)
    except RemoteError as error:
        raise Rejected(verdict, error.detail) from None
