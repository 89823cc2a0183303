"""Contacts whose name has ended, as the key log says: revoked, or closed by their owner.

A name ends once and for ever, so what is noted here is never taken back: nothing is sealed for it
any more, and no key of it has a successor, whoever signs one.  It is noted of contacts alone, from
the leaves that come by when the log is read; so it takes no more than contacts do.
"""

from __future__ import annotations

from collections.abc import Iterable

from securerelay.client.state import State
from securerelay.errors import Refused
from securerelay.identity.keylog import Kind, Leaf

_WORDS = {
    "peer-revoked": "{peer} was revoked, as the relay's key log says; nothing is sent to that name "
    "any more. If this is a surprise, ask {peer}, not through the relay",
    "peer-closed": "{peer} has closed that name, as the relay's key log says; nothing is sent to "
    "it any more",
}
_CODES = {Kind.REVOKED: "peer-revoked", Kind.CLOSED: "peer-closed"}
CODES = frozenset(_CODES.values())
"""What a message to a name that ended is refused with."""


def note(state: State, leaves: Iterable[Leaf]) -> list[tuple[str, str]]:
    """Note which contacts' names have ended.

    Args:
        state: of the transaction.
        leaves: new ones, of any kind.

    Returns:
        Name and code of those of whom it was not known.
    """
    new = []
    for leaf in leaves:
        code = _CODES.get(leaf.kind)
        if code is None:
            continue
        noted = state.db.execute(
            "INSERT OR IGNORE INTO ended SELECT name, ?, ? FROM contact WHERE name = ?",
            (code, leaf.spki_sha256, leaf.name),
        )
        if noted.rowcount == 1:
            new.append((leaf.name, code))
    return new


def find(state: State, name: str) -> tuple[str, bytes] | None:
    """Return how a contact's name ended, and the SHA-256 of its last key; None if it has not."""
    row: tuple[str, bytes] | None = state.db.execute(
        "SELECT code, spki FROM ended WHERE name = ?", (name,)
    ).fetchone()
    return row


def all_of(state: State) -> dict[str, str]:
    """Return how contacts' names ended, by name."""
    return dict(state.db.execute("SELECT name, code FROM ended"))


def words(name: str, code: str) -> str:
    """Return what people are told."""
    return _WORDS[code].format(peer=name)


def refusal(name: str, code: str) -> Refused:
    """Return what a message to a name that ended is refused with."""
    return Refused(code, words(name, code))
