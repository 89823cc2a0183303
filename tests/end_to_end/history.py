"""What clients did and saw, written down as it happens, and a judge over it.

Each client writes one file of JSON lines; :func:`check` reads the files of a whole, drained run and
returns everything that should not have happened.  The rules are named:

* ``loss``: accepted, and neither delivered to each recipient nor visibly expired.
* ``duplicate``: given to an application twice.
* ``phantom``: delivered, but never sent so by that sender, or refused for good.  A message that
  was under way when the session ended may have been both: the crash that took the verdict away also
  took the relay's memory of the delivery.
* ``order``: delivered after a later message of the same stream.
* ``stranger``: delivered to somebody to whom it was not sent.
* ``verdict``: two different final verdicts for one message, or one for a message never sent.
* ``receipt``: the relay says that somebody acknowledged what he never got.
* ``number``: a number of a mailbox names two messages, or does not rise after a LISTEN.
* ``ticket``: a ticket given twice, or taken twice.
* ``serial``: a serial number of two certificates, or a session id of two sessions.
* ``enrolment``: a token whose certificate cannot be had, or two keys with one token.
* ``revival``: somebody let in after his revocation was acknowledged.
* ``end``: a session that the relay ended without being killed.

What a client writes down, each with ``t``, a clock that all processes of the machine share:

=============  ===================================================================================
``invoke``     ``stream seq to ttl body``: a message is about to be sent for the first time
``ok``         ``stream seq``: one message of ours is accepted
``no``         ``stream seq code final``: one is refused, for good or not
``got``        ``stream seq peer``: a receipt
``expired``    ``stream seq peer``: the relay says that its time ran out
``msg``        ``listened n from to stream seq``: a message came, new or not, after that LISTEN
``deliver``    ``from to stream seq body``: the application got it
``opened``     ``session resumed ticket began``: we were let in, having begun to connect at
               ``began``
``refused``    ``code``: we were not
``end``        ``code``: the relay ended a session
``tickets``    ``ids``: it gave us tickets
``enrolled``   ``token name key serial``: a certificate came
``unenrolled`` ``token name key code``: the last word about an invitation was no
``revoked``    ``name``: the administrator was told that this name has ended
``room``       ``name members``: who is in a room, for all of the run
=============  ===================================================================================
"""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

Event = dict[str, Any]
Message = tuple[str, str, int]
"""Sender, stream and seq."""

HARMLESS_ENDS = {"truncated", "shutdown", "replaced", "revoked"}


class Recorder:
    """Writes one client's history.

    Args:
        folder: where; the file is called after the client.
        client: its name.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self.client = client
        self._file: TextIO = (folder / f"{client}.history").open("a", buffering=1 << 16)

    def __call__(self, kind: str, **what: Any) -> None:
        """Write down one thing that happened."""
        what["t"] = time.monotonic_ns()
        what["e"] = kind
        self._file.write(json.dumps(what) + "\n")

    def close(self) -> None:
        """Have everything in the file."""
        self._file.close()


class Violation(NamedTuple):
    """Something that should not have happened.

    Attributes:
        rule: which rule it breaks.
        text: what it was.
    """

    rule: str
    text: str


def read(folder: Path) -> dict[str, list[Event]]:
    """Read the histories of a run, by client."""
    found = {}
    for path in sorted(folder.glob("*.history")):
        with path.open() as file:
            found[path.stem] = [json.loads(line) for line in file]
    return found


def check(histories: dict[str, list[Event]]) -> list[Violation]:
    """Judge a run at whose end every message had its verdict and every mailbox was emptied.

    Args:
        histories: each client's events in the order in which it wrote them.

    Returns:
        Whatever broke a rule; empty if all is well.
    """
    judge = _Judge(histories)
    rules = (
        judge.senders,
        judge.recipients,
        judge.losses,
        judge.receipts,
        judge.numbers,
        judge.identities,
        judge.enrolments,
        judge.revocations,
    )
    return [violation for rule in rules for violation in rule()]


class _Judge:
    def __init__(self, histories: dict[str, list[Event]]) -> None:
        self.histories = histories
        self.invoked: dict[Message, Event] = {}
        self.accepted: set[Message] = set()
        self.refused: dict[Message, str] = {}
        self.expired: set[tuple[Message, str]] = set()
        self.delivered: dict[Message, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.rooms: dict[str, set[str]] = {}
        self.in_doubt: set[Message] = set()
        self.refused_at: dict[Message, int] = {}
        for client, event in self._each("invoke"):
            self.invoked[client, event["stream"], event["seq"]] = event
        for client, events in histories.items():
            self._doubt(client, events)
        for client, event in self._each("expired"):
            message = client, event["stream"], event["seq"]
            self.expired.add((message, event["peer"]))
        for _, event in self._each("room"):
            self.rooms[event["name"]] = set(event["members"])

    def _each(self, *kinds: str) -> Iterator[tuple[str, Event]]:
        for client, events in self.histories.items():
            for event in events:
                if event["e"] in kinds:
                    yield client, event

    def _doubt(self, client: str, events: list[Event]) -> None:
        """Find what was under way in one session, and refused in a later one."""
        under_way: set[Message] = set()
        before: set[Message] = set()
        for event in events:
            if event["e"] == "opened":
                before |= under_way
                under_way.clear()
            elif event["e"] == "invoke":
                under_way.add((client, event["stream"], event["seq"]))
            elif event["e"] == "no" and event["final"]:
                message = client, event["stream"], event["seq"]
                if message in before and message not in self.refused_at:
                    self.in_doubt.add(message)
                self.refused_at.setdefault(message, event["t"])

    def _recipients(self, sender: str, to: str) -> set[str]:
        return self.rooms[to] - {sender} if to in self.rooms else {to}

    def senders(self) -> Iterator[Violation]:
        """What senders were told hangs together."""
        for client, event in self._each("ok", "no"):
            message = client, event["stream"], event["seq"]
            if message not in self.invoked:
                yield Violation("verdict", f"{message} was never sent, but has a verdict")
            elif event["e"] == "ok":
                if message in self.refused:
                    yield Violation("verdict", f"{message} was refused, and then accepted")
                self.accepted.add(message)
            elif event["final"]:
                if message in self.accepted:
                    yield Violation("verdict", f"{message} was accepted, and then refused")
                if self.refused.setdefault(message, event["code"]) != event["code"]:
                    yield Violation("verdict", f"{message} was refused for two reasons")
        for message in self.invoked:
            if message not in self.accepted and message not in self.refused:
                yield Violation("verdict", f"{message} never got one")

    def recipients(self) -> Iterator[Violation]:
        """What applications were given was sent to them, once, in order."""
        for client, events in self.histories.items():
            last: dict[tuple[str, str], int] = {}
            for event in events:
                if event["e"] != "deliver":
                    continue
                message = event["from"], event["stream"], event["seq"]
                sent = self.invoked.get(message)
                self.delivered[message][client] += 1
                if sent is None or sent["body"] != event["body"] or sent["to"] != event["to"]:
                    yield Violation("phantom", f"{client} got {message}, which was not sent so")
                    continue
                doubtful = message in self.in_doubt and event["t"] < self.refused_at[message]
                if message in self.refused and not doubtful:
                    yield Violation("phantom", f"{client} got {message}, which was refused")
                if client not in self._recipients(message[0], sent["to"]):
                    yield Violation("stranger", f"{client} got {message}, sent to {sent['to']}")
                if self.delivered[message][client] > 1:
                    yield Violation("duplicate", f"{client} got {message} again")
                elif event["seq"] < last.get(message[:2], 0):
                    yield Violation("order", f"{client} got {message} after {last[message[:2]]}")
                last[message[:2]] = max(event["seq"], last.get(message[:2], 0))

    def losses(self) -> Iterator[Violation]:
        """What was accepted was delivered."""
        for message in sorted(self.accepted):
            sent = self.invoked[message]
            if sent["ttl"] == 0:
                continue  # handed to a live session, which the relay cannot know to have survived
            for recipient in sorted(self._recipients(message[0], sent["to"])):
                if not (self.delivered[message][recipient] or (message, recipient) in self.expired):
                    yield Violation("loss", f"{message} never came to {recipient}")

    def receipts(self) -> Iterator[Violation]:
        """Who is said to have acknowledged a message had it before."""
        for client, event in self._each("got"):
            message = client, event["stream"], event["seq"]
            if not self.delivered[message][event["peer"]]:
                yield Violation("receipt", f"{event['peer']} never got {message}")

    def numbers(self) -> Iterator[Violation]:
        """A mailbox's numbers rise, and each names one message for ever."""
        for client, events in self.histories.items():
            named: dict[int, Message] = {}
            last: dict[int, int] = {}
            for event in events:
                if event["e"] != "msg":
                    continue
                message = event["from"], event["stream"], event["seq"]
                n = event["n"]
                if named.setdefault(n, message) != message:
                    yield Violation("number", f"{n} of {client} is {message} and {named[n]}")
                if n <= last.get(event["listened"], 0):
                    yield Violation("number", f"{n} of {client} came after a higher one")
                last[event["listened"]] = n

    def identities(self) -> Iterator[Violation]:
        """Tickets, serial numbers and session ids are used once; sessions end for a reason."""
        given: set[str] = set()
        taken: set[str] = set()
        unique: set[str] = set()
        for client, event in self._each("tickets", "opened", "end"):
            if event["e"] == "tickets":
                for ticket in event["ids"]:
                    if ticket in given:
                        yield Violation("ticket", f"{client} was given {ticket} again")
                    given.add(ticket)
            elif event["e"] == "opened":
                ticket = event["ticket"]
                if event["resumed"] and ticket in taken:
                    yield Violation("ticket", f"{client} came in with {ticket} again")
                if event["resumed"]:
                    taken.add(ticket)
                if event["session"] in unique:
                    yield Violation("serial", f"session {event['session']} of {client} is no new")
                unique.add(event["session"])
            elif event["code"] not in HARMLESS_ENDS:
                yield Violation("end", f"a session of {client} ended with {event['code']}")

    def enrolments(self) -> Iterator[Violation]:
        """A token is used if and only if its certificate can be had, by one key."""
        keys: dict[str, str] = {}
        certificates: dict[str, set[str]] = collections.defaultdict(set)
        serials: dict[str, str] = {}
        for _, event in self._each("enrolled"):
            token = event["token"]
            if keys.setdefault(token, event["key"]) != event["key"]:
                yield Violation("enrolment", f"two keys used {token}")
            certificates[token].add(event["serial"])
            if serials.setdefault(event["serial"], token) != token:
                yield Violation("serial", f"two certificates have serial {event['serial']}")
        for token, found in certificates.items():
            if len(found) > 1:
                yield Violation("enrolment", f"{token} brought {len(found)} certificates")
        for _, event in self._each("unenrolled"):
            if keys.get(event["token"], event["key"]) == event["key"]:
                yield Violation("enrolment", f"{event['name']} cannot have its certificate")

    def revocations(self) -> Iterator[Violation]:
        """A revocation that was acknowledged holds."""
        since = {event["name"]: event["t"] for _, event in self._each("revoked")}
        for client, event in self._each("opened"):
            if event["began"] > since.get(client, event["began"]):
                yield Violation("revival", f"{client} came in after it was revoked")


def summary(histories: dict[str, list[Event]]) -> dict[str, int]:
    """Count what happened, for people."""
    return dict(
        collections.Counter(event["e"] for events in histories.values() for event in events)
    )


def tell(violations: Iterable[Violation], most: int = 20) -> str:
    """Put the first violations in words, a line each."""
    lines = [f"{rule}: {text}" for rule, text in violations]
    return "\n".join([*lines[:most], *([f"... {len(lines)} in all"] if len(lines) > most else [])])
