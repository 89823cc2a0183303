"""How a message that came is shown, to people and to programs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from securerelay.cli.output import Block, Output, moment

if TYPE_CHECKING:
    from securerelay.client import Message


def say_message(out: Output, message: Message, template: str) -> None:
    """Write a message.

    JSON carries the body as ``text`` if it is UTF-8, and as ``base64`` if not; the other one is
    null.

    Args:
        out: where to.
        message: what came.
        template: for people; ``when`` and ``body`` are there besides the record's keys.
    """
    try:
        text = message.body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    record = {
        "from": message.sender,
        "to": message.to,
        "time": message.time,
        "n": message.n,
        "stream": message.stream,
        "seq": message.seq,
        "text": text,
        "base64": base64.b64encode(message.body).decode("ascii") if text is None else None,
    }
    out.say(record, template, when=moment(message.time), body=Block(message.body))
