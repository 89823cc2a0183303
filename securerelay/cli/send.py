"""``securerelay send``: one message, or a message for each line of the input."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from securerelay import names
from securerelay.cli.durations import Duration
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output, moment
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.cli.lines import Input
    from securerelay.client import Client, Sent

Wait = Literal["accepted", "delivered"]

LONGEST = 16 << 20
"""Bytes of an input that becomes one message; relays take less by default."""
IN_FLIGHT = 256
"""Lines sent and unanswered, at most."""


@click.command(cls=Verb)
@click.argument("to")
@click.argument("text", required=False)
@click.option("--lines", is_flag=True, help="Send each line of the input as it comes.")
@click.option(
    "--wait",
    type=click.Choice(["accepted", "delivered"]),
    default="accepted",
    show_default=True,
    help="Until the relay has it, or until the recipient's program has acknowledged it.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for that.",
)
@click.option(
    "--ttl",
    type=Duration(whole=True),
    metavar="TIME",
    help="How long the relay keeps it for an absent recipient; 0 to deliver now or not at all.",
)
@access_options
@click.pass_obj
def command(
    common: Common,
    access: Access,
    to: str,
    text: str | None,
    lines: bool,
    wait: Wait,
    timeout: float,
    ttl: int | None,
) -> None:
    """Send TEXT to the peer TO, or to a room (@NAME).

    Without TEXT, or with -, send the standard input.
    """
    names.check_room(to) if to.startswith("@") else names.check_peer(to)
    if lines and text not in (None, "-"):
        raise click.UsageError("--lines sends the lines of the standard input; leave out TEXT")
    body = b"" if lines else _body(text, common.out)

    async def work(reactor: Any, client: Client) -> None:
        if lines:
            from securerelay.cli.lines import Input

            source = Input(reactor)
            await send_lines(client, source, common.out, to, wait, timeout, ttl)
        else:
            sent = await client.send(to, body, ttl=ttl, wait=wait, timeout=timeout)
            tell(common.out, to, sent)

    access.run(work, timeout)


def _body(text: str | None, out: Output) -> bytes:
    if text is not None and text != "-":
        return os.fsencode(text)
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        out.note("type the message, then Ctrl-D on a line of its own")
    body = sys.stdin.buffer.read(LONGEST + 1)
    if len(body) > LONGEST:
        raise Failure("too-large", f"the input is larger than {LONGEST} bytes")
    return body


def tell(out: Output, to: str, sent: Sent) -> None:
    """Say what became of a message."""
    record = {
        "to": to,
        "stream": sent.stream,
        "seq": sent.seq,
        "state": "accepted" if sent.delivered is None else "delivered",
        "delivered": sent.delivered,
    }
    if sent.delivered is None:
        out.say(record, "accepted by the relay")
    else:
        out.say(record, "delivered to {to} at {when}", when=moment(sent.delivered))


async def send_lines(
    client: Client,
    source: Input,
    out: Output,
    to: str,
    wait: Wait,
    timeout: float,
    ttl: int | None,
) -> None:
    """Send each line as it comes, many at a time; the first refusal ends it.

    Raises:
        SecureRelayError: the first refusal, once everything under way has its answer.
    """
    from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
    from twisted.python.failure import Failure as Failed

    slots = DeferredSemaphore(IN_FLIGHT)
    refusals: list[Failed] = []
    count = 0

    def accepted(sent: Sent) -> None:
        nonlocal count
        count += 1
        if out.json:
            tell(out, to, sent)

    def refused(failure: Failed) -> None:
        refusals.append(failure)
        reading.cancel()

    async def read() -> None:
        while (line := await source.line()) is not None:
            await slots.acquire()
            sending = client.send(to, line, ttl=ttl, wait=wait, timeout=timeout)
            sending.addCallback(accepted).addErrback(refused).addBoth(lambda _: slots.release())

    reading: Deferred[None] = Deferred.fromCoroutine(read())
    try:
        await reading
    except CancelledError:
        if not refusals:
            raise
    for _ in range(IN_FLIGHT):
        await slots.acquire()
    if refusals:
        refusals[0].raiseException()
    if not out.json:
        out.say({"count": count, "state": wait}, "{count} messages {state}")
