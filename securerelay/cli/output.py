"""What verbs say: one record, shown as a line of text or as a line of JSON.

A verb hands over a record and a template of that record.  Every value passes
:func:`securerelay.text.printable` on its way into the template, so no verb can forget to escape
what came from another machine; JSON is plain ASCII, which escapes by itself.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from securerelay.cli.exits import Failure, ReaderGone
from securerelay.errors import SecureRelayError
from securerelay.text import printable


@dataclass(frozen=True, slots=True)
class Block:
    """Text of several lines, as it came; the lines after the first are marked when it is shown.

    So no body can look like a message from somebody else.
    """

    text: bytes


class _Shown(dict[str, str]):
    """A record's values as a template sees them."""

    def __init__(self, record: Mapping[str, object]) -> None:
        super().__init__({key: shown(value) for key, value in record.items()})


def shown(value: object) -> str:
    """Turn one value into visible characters.

    Args:
        value: None comes out as a hyphen, a list as its items with commas.

    Returns:
        Text without control or bidirectional characters; one line, but for a :class:`Block`.
    """
    if value is None:
        return "-"
    if isinstance(value, Block):
        lines = value.text.removesuffix(b"\n").split(b"\n")
        return "\n  | ".join(printable(line) for line in lines)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return printable(value if isinstance(value, (str, bytes)) else str(value))


def plural(count: int, noun: str) -> str:
    """Write how many there are of something whose plural ends in s: ``1 member``, ``2 members``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def moment(milliseconds: int | None) -> str:
    """Write a Unix time in milliseconds as local time, as people read it; a hyphen for None."""
    if milliseconds is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))
    except (ValueError, OverflowError, OSError):  # a year that this machine has no calendar for
        return str(milliseconds)


class Output:
    """Where a verb's results, remarks and errors go.

    Args:
        json: whether results and errors are JSON, one object a line.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json

    def say(self, record: Mapping[str, object], template: str, **also: object) -> None:
        """Write one result to standard output, at once.

        Args:
            record: what programs get, with the same keys each time.
            template: what people get, a format string over the record's keys.
            also: further values for the template alone, such as times made readable.

        Raises:
            ReaderGone: if nobody reads the output any more.
        """
        if self.json:
            self._write(sys.stdout, json.dumps(record, separators=(",", ":")))
        else:
            self._write(sys.stdout, template.format_map(_Shown({**record, **also})))

    def note(self, text: str) -> None:
        """Write a remark to standard error; programs that asked for JSON get it as an object."""
        self._write(sys.stderr, json.dumps({"note": text}) if self.json else printable(text))

    def remark(self, record: Mapping[str, object], text: str) -> None:
        """Write what happened meanwhile to standard error.

        Args:
            record: what programs get.
            text: what people get; it is escaped here.
        """
        line = json.dumps(record, separators=(",", ":")) if self.json else printable(text)
        self._write(sys.stderr, line)

    def fail(self, code: str, message: str) -> None:
        """Write an error to standard error.

        Args:
            code: the word for programs.
            message: one sentence, already safe to show.
        """
        if self.json:
            line = json.dumps({"error": code, "message": message}, separators=(",", ":"))
        else:
            line = f"securerelay: {message}"
        with contextlib.suppress(SecureRelayError):  # the exit status still speaks
            self._write(sys.stderr, line)

    @staticmethod
    def _write(stream: IO[str], line: str) -> None:
        try:
            stream.write(line + "\n")
            stream.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise Failure("output", f"cannot write the output: {error.strerror}") from None
