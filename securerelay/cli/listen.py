"""``securerelay listen``: show what comes, or run a command for each message."""

from __future__ import annotations

import shlex
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.durations import Duration
from securerelay.cli.exits import Failure
from securerelay.cli.messages import say_message
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import plural
from securerelay.cli.profiles import Access, access_options, reading_option
from securerelay.cli.shown import Shown, opened
from securerelay.errors import TimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from securerelay.client import Client, Message


@click.command(cls=Verb)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after N messages.")
@click.option(
    "--timeout",
    type=Duration(),
    metavar="TIME",
    help="Leave after this time; with --count, with status 7 if fewer came.",
)
@click.option("--exec", "exec_", metavar="COMMAND", help="Run this for each message.")
@reading_option
@access_options
@click.pass_obj
def command(
    common: Common,
    access: Access,
    count: int | None,
    timeout: float | None,
    exec_: str | None,
    read_receipts: bool,
) -> None:
    """Receive messages: those that waited first, then as they come.

    A message is acknowledged once it has been written out. If listen is killed just then, the next
    one writes that last message out again. A sender who asked for it (send --wait delivered) is
    told so, in a sealed message, unless --no-read-receipts is given.

    With --exec a message is the command's: it gets the body on its standard input, and
    SECURERELAY_FROM, _TO, _TIME (Unix milliseconds), _N, _STREAM, _SEQ and _ID (stream:seq, the
    same if the message comes again) in its environment. COMMAND is split into words as a shell
    would, but no shell runs it. Commands run one after the other. A message whose command ends with
    status 0 is acknowledged; if one fails, listen ends with status 1, and the message stays with
    the relay and comes again.
    """
    access.read_receipts = read_receipts
    out = common.out
    words = _words(exec_) if exec_ is not None else None

    async def work(reactor: Any, client: Client) -> None:
        async def take(message: Message) -> None:
            if words is None:
                say_message(out, message, "{when} {who}: {body}")
            else:
                from securerelay.cli.execute import execute

                await execute(reactor, words, message, access.folder)

        with opened(access.folder) if words is None else nullcontext() as shown:
            await receive(client, take, reactor.seconds, count, timeout, shown)

    access.run(work)


def _words(command_line: str) -> list[str]:
    try:
        words = shlex.split(command_line)
    except ValueError as error:
        raise click.UsageError(f"--exec: {error}") from None
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise click.UsageError(f"--exec: there is no command {words[0] if words else ''!a}")
    return [found, *words[1:]]


async def receive(
    client: Client,
    take: Callable[[Message], Awaitable[None]],
    seconds: Callable[[], float],
    count: int | None,
    timeout: float | None,
    shown: Shown | None = None,
) -> None:
    """Take messages until there were enough, or the time is over.

    Args:
        client: connected.
        take: deals with a message; one that raises is not acknowledged.
        seconds: a monotonic clock.
        count: how many; None for as many as come.
        timeout: seconds; None for no end.
        shown: notes what was shown; None to have each message on disk as dealt with before the next
            one is taken.

    Raises:
        Failure: ``timeout`` if fewer than ``count`` came.
    """
    messages = client.listen()
    end = None if timeout is None else seconds() + timeout
    taken = 0
    while count is None or taken < count:
        try:
            message = await messages.next(None if end is None else max(0.0, end - seconds()))
        except TimedOut:
            if count is None:
                return
            raise Failure(
                "timeout", f"{taken} of {plural(count, 'message')} came in time"
            ) from None
        if shown is None:
            await take(message)
            await message.ack()
        elif message in shown:
            message.ack()
            continue
        else:
            await take(message)
            shown.add(message)
            await shown.noted(message, message.ack())
        taken += 1
