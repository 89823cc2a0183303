"""``securerelay chat``: a talk with one peer or in a room, line by line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from securerelay import names
from securerelay.cli.messages import say_message
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output
from securerelay.cli.profiles import Access, access_options, reading_option
from securerelay.cli.send import type_of

if TYPE_CHECKING:
    from securerelay.cli.lines import Input
    from securerelay.client import Client

LEAVE = b"exit"
TIMEOUT = 60.0


@click.command(cls=Verb)
@click.argument("peer")
@click.option(
    "--ephemeral",
    is_flag=True,
    help="With keys that live in memory alone and as long as the talk; both ends give this.",
)
@reading_option
@access_options
@click.pass_obj
def command(
    common: Common, access: Access, peer: str, ephemeral: bool, read_receipts: bool
) -> None:
    """Talk with PEER, or in a room (@NAME): each line typed is sent, and what comes is shown.

    The line "exit", or Ctrl-D, ends the talk.

    What PEER misses while away waits at the relay. Messages from others are shown with their names.

    With --ephemeral the lines are encrypted once more, from end to end, under keys made for this
    talk alone. They are never written to a disk and are forgotten at both ends when either ends the
    talk. Both ends show a fingerprint: if it is the same, read to each other over the telephone for
    instance, not even the relay can listen.
    """
    access.read_receipts = read_receipts
    if peer.startswith("@") and not ephemeral:
        names.check_room(peer)
    else:
        names.check_peer(peer)

    async def work(reactor: Any, client: Client) -> None:
        from securerelay.cli.lines import Input

        source = Input(reactor)
        if ephemeral:
            from securerelay.cli.ephemeral import talk_in_private

            await talk_in_private(reactor, client, peer, source, common.out)
        else:
            await talk(reactor, client, peer, source, common.out)

    access.run(work)


async def talk(reactor: Any, client: Client, peer: str, source: Input, out: Output) -> None:
    """Carry lines both ways until ours end.

    Args:
        reactor: the reactor.
        client: connected.
        peer: with whom.
        source: our lines.
        out: where messages are shown.
    """
    from securerelay.cli.first import first

    if sys.stdin is not None and sys.stdin.isatty():
        out.note(f'talking with {peer}; "{LEAVE.decode()}" or Ctrl-D ends it')

    async def speak() -> None:
        while (line := await source.line()) is not None and line.strip() != LEAVE:
            await client.send(peer, line, timeout=TIMEOUT, content_type=type_of(line))

    async def hear() -> None:
        async for message in client.listen():
            say_message(out, message, "{who}: {body}")

    await first(reactor, speak(), hear())
