"""``securerelay send``: one message, or a message for each line of the input."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from securerelay import names
from securerelay.cli.durations import Duration
from securerelay.cli.exits import Failure, code_of, sentence_of
from securerelay.cli.messages import tell_missed
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output, moment, plural
from securerelay.cli.profiles import Access, access_options
from securerelay.errors import AuthenticationFailed, ConnectError, SecureRelayError

if TYPE_CHECKING:
    from securerelay.cli.lines import Input
    from securerelay.client import Client, Sent

Wait = Literal["queued", "accepted", "delivered"]

LONGEST = 16 << 20
"""Bytes of an input that becomes one message; relays take less by default."""
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
IN_FLIGHT = 256
"""Lines sent and unanswered, at most."""
OTHERS = 10.0
"""Seconds that we stay for what earlier programs have left in the outbox."""


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
    "--queue",
    is_flag=True,
    help="Only put it into the outbox; the next program that connects with this profile sends it.",
)
@click.option(
    "--once",
    metavar="KEY",
    help="Send it once, however often this is run with the same KEY within 30 days.",
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
@click.option(
    "--explain", is_flag=True, help="Send nothing; show which keys would be used, and why."
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
    queue: bool,
    once: str | None,
    timeout: float,
    ttl: int | None,
    explain: bool,
) -> None:
    """Send TEXT to the peer TO, or to a room (@NAME).

    Without TEXT, or with -, send the standard input. A message to a room counts as delivered when
    the first member has acknowledged it.

    The message is written to the profile's outbox first. If the relay cannot be reached (status 3),
    does not accept this profile (status 4) or does not answer in time (status 7), it stays there,
    and leaves with the next send, listen, chat or flush of the same profile; "securerelay sent"
    shows what became of it. To repeat a send that failed without risk of sending twice, give it a
    KEY with --once. With --ttl 0 nothing is kept.

    What is sent is sealed end to end: the relay cannot read it. If TO has no keys that can be
    trusted the status is 9, and the message stays in the outbox until it has.
    """
    names.check_room(to) if to.startswith("@") else names.check_peer(to)
    if explain:
        if text is not None or lines or queue or once is not None:
            raise click.UsageError("--explain sends nothing; leave out TEXT and what goes with it")
        from securerelay.cli.explain import explain as show

        access.run(lambda reactor, client: show(client, common.out, to), timeout)
        return
    if lines and text not in (None, "-"):
        raise click.UsageError("--lines sends the lines of the standard input; leave out TEXT")
    body = b"" if lines else _body(text, common.out)

    if queue:
        wait = "queued"
    if ttl == 0 and (queue or once is not None):
        raise click.UsageError("with --ttl 0 nothing is kept, so leave out --queue and --once")
    if lines and once is not None:
        raise click.UsageError("--once names one message; leave out --lines")

    async def work(reactor: Any, client: Client) -> None:
        missing = tell_missed(client, common.out)
        if lines:
            from securerelay.cli.lines import Input

            await send_lines(client, Input(reactor), common.out, to, wait, timeout, ttl)
        else:
            options: dict[str, Any] = {"ttl": ttl, "wait": wait, "timeout": timeout, "once": once}
            options["content_type"] = type_of(body)
            sent = await send_first(client, to, body, queue, options)
            tell(common.out, to, sent, "queued" if queue else None)
        if not queue:
            await _send_others(client, common.out)
        missing.cancel()

    # What is not kept needs a connection; everything else is kept before one is tried.
    access.run(work, timeout, connected=ttl == 0 or (lines and not queue))


async def send_first(
    client: Client, to: str, body: bytes, queue: bool, options: dict[str, Any]
) -> Sent:
    """Put a message into the outbox, and only then look for the relay.

    Args:
        client: connected, or not yet started.
        to: the recipient.
        body: the message.
        queue: whether the outbox is enough.
        options: for :meth:`~securerelay.client.Client.send`.

    Returns:
        What became of it.

    Raises:
        Failure: if the relay cannot be reached; it says where the message is.
    """
    from twisted.internet.defer import CancelledError

    sending = client.send(to, body, **options)
    unreachable: list[SecureRelayError] = []

    def failed(failure: Any) -> None:
        failure.trap(SecureRelayError)
        unreachable.append(failure.value)
        sending.cancel()

    if not (queue or client.running):
        client.startService()
        client.connected(client.attempts, options["timeout"]).addErrback(failed)
    try:
        return await sending
    except (ConnectError, AuthenticationFailed) as error:
        reason: SecureRelayError = error
    except CancelledError:
        if not unreachable:
            raise
        reason = unreachable[0]
    if options["ttl"] == 0:
        raise reason
    await client.journaled()
    raise Failure(code_of(reason), f"{sentence_of(reason)}; the message stays in the outbox")


async def _send_others(client: Client, out: Output) -> None:
    """Send what earlier programs of the profile have left, if that does not take long."""
    try:
        await client.flush(OTHERS, receipts=False)
    except SecureRelayError:
        out.note("messages of earlier commands are still in the outbox")


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


def type_of(body: bytes) -> str:
    """Say what a message is, for its recipient's program."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return BYTES
    return TEXT


def tell(out: Output, to: str, sent: Sent, state: str | None = None) -> None:
    """Say what became of a message.

    Args:
        out: where to.
        to: the recipient.
        sent: what became of it.
        state: what is known of it, if that does not follow.
    """
    state = state or ("accepted" if sent.delivered is None else "delivered")
    record = {
        "to": to,
        "stream": sent.stream,
        "seq": sent.seq,
        "state": state,
        "delivered": sent.delivered,
    }
    if state == "queued":
        out.say(record, "kept in the outbox")
    elif sent.delivered is None:
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
            sending = client.send(
                to, line, ttl=ttl, wait=wait, timeout=timeout, content_type=type_of(line)
            )
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
        said = plural(count, "message")
        out.say({"count": count, "state": wait}, "{said} {state}", said=said)
