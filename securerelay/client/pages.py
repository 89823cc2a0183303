"""Long lists come from a relay in pages, each behind the last name of the page before.

Whatever else it answers, be it a list that never ends, breaks the protocol.
"""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Awaitable, Callable

from securerelay import names
from securerelay.errors import RemoteError

MOST = 1 << 20
"""Names in the longest list."""

Answer = dict[str, typing.Any]


async def pages(
    ask: Callable[[str], Awaitable[Answer]], key: str, *fields: str
) -> AsyncIterator[Answer]:
    """Ask for a list until it is whole.

    Args:
        ask: asks for the entries behind a name, which is empty at first.
        key: where an answer has its entries.
        fields: what an entry has, its name first; none if it is just a name.

    Yields:
        The answers.

    Raises:
        RemoteError: ``protocol`` for what is no page of names that rise, and for too many names.
    """
    after, count = "", 0
    while True:
        answer = await ask(after)
        entries, more = answer.get(key), answer.get("more")
        if not isinstance(entries, list) or not isinstance(more, bool) or (more and not entries):
            raise RemoteError("protocol", f"no page of {key}")
        for entry in entries:
            name = _name(entry, fields)
            if name <= after:
                raise RemoteError("protocol", f"{key} that do not rise")
            after = name
        count += len(entries)
        if count > MOST:
            raise RemoteError("protocol", f"{key} without end")
        yield answer
        if not more:
            return


def _name(entry: object, fields: tuple[str, ...]) -> str:
    if fields:
        if not isinstance(entry, dict) or not entry.keys() >= set(fields):
            raise RemoteError("protocol", "an entry without all that belongs to it")
        entry = entry[fields[0]]
    if isinstance(entry, str):
        token = entry.encode("ascii", "replace")
        if names.is_peer(token) or names.is_room(token):
            return entry
    raise RemoteError("protocol", "a name that is none")
