"""``securerelay inspect``: what a sealed message shows to anybody, without opening it."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path

import click

from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb

LONGEST = 4 << 20
"""Bytes of what is read: more than the largest message has, in base64 too."""


@click.command(cls=Verb)
@click.argument(
    "file", type=click.Path(path_type=Path, allow_dash=True), default="-", metavar="[FILE|-]"
)
@click.pass_obj
def command(common: Common, file: Path) -> None:
    """Show how a sealed message is built, without opening it: what the relay sees of it.

    FILE holds the message as the relay carries it, as it is or in base64; with - or
    nothing it is read from the standard input. No profile and no key is needed, and none is used.
    Status 1 says that it is no sealed message.
    """
    from securerelay.errors import RemoteError
    from securerelay.sealing.explain import explain

    data = _read(file)
    try:
        parts = explain(_from_base64(data) or data)
    except RemoteError:
        raise Failure("unsealed", "this is no sealed message") from None
    for part in parts:
        common.out.say(
            {
                "offset": part.offset,
                "size": part.size,
                "name": part.name,
                "value": part.value or None,
                "note": part.note,
            },
            "{offset:>7}  {size:>7}  {name:<17}  {note}{shown}",
            shown=f": {part.value}" if part.value else "",
        )


def _read(file: Path) -> bytes:
    if str(file) != "-":
        with file.open("rb") as opened:
            data = opened.read(LONGEST + 1)
    elif sys.stdin is None:
        data = b""
    else:
        data = sys.stdin.buffer.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise Failure("too-large", f"this is larger than any message: more than {LONGEST} bytes")
    return data


def _from_base64(data: bytes) -> bytes | None:
    """Return what base64 stands for, of either alphabet; None if it is none."""
    text = b"".join(data.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
