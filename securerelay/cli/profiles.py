"""Whom a verb acts as: finding the profile, opening its key, and connecting in its name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from securerelay import names
from securerelay.cli import passphrases
from securerelay.cli.options import Common
from securerelay.identity import profiles

if TYPE_CHECKING:
    from securerelay.client import Client
    from securerelay.client.sealing.trust import Trust
    from securerelay.identity.profile import Profile

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds for the first connection."""


class Access:
    """A profile that a verb acts as.

    Args:
        common: says which.
        passphrase_file: holds the passphrase of its key, if it has one and the file is given.
        groups: key exchanges to permit, best first; None for the library's choice.
        plain: peers and rooms with whom messages are not sealed.

    Attributes:
        read_receipts: whether those who ask for it are told that their messages were read.
    """

    def __init__(
        self,
        common: Common,
        passphrase_file: Path | None,
        groups: tuple[str, ...] | None,
        plain: tuple[str, ...] = (),
    ) -> None:
        self._common = common
        self._file = passphrase_file
        self._groups = groups
        self._plain = plain
        self.read_receipts = True

    @property
    def groups(self) -> tuple[str, ...]:
        """Key exchanges to permit, best first."""
        from securerelay.crypto.groups import DEFAULT_GROUPS

        return self._groups or DEFAULT_GROUPS

    @functools.cached_property
    def folder(self) -> Path:
        """The profile's folder.

        Raises:
            ProfileError: if there is none, or a choice to make.
        """
        return profiles.find(self._common.profile)

    @functools.cached_property
    def profile(self) -> Profile:
        """The profile.

        Raises:
            ProfileError: if there is none.
        """
        from securerelay.identity.profile import Profile

        return Profile.open(self.folder)

    @functools.cached_property
    def passphrase(self) -> bytes | None:
        """The passphrase of the profile's key, asked for if need be; None for a plain key."""
        return self.secret(self.profile.protected(), f"Passphrase of {self.profile.name}'s key")

    def secret(self, protected: bool, question: str) -> bytes | None:
        """Get a passphrase if one is needed.

        Args:
            protected: whether it is.
            question: what to ask if nothing tells it.
        """
        if not protected:
            return None
        return passphrases.given(self._file) or passphrases.asked(self._common, question)

    def trust(self) -> Trust:
        """Open what the profile knows of others; no connection is needed."""
        from securerelay.client.sealing.trust import Trust

        self.profile.key(self.passphrase)
        return Trust(self.profile)

    def run(
        self,
        work: Callable[[Any, Client], Coroutine[Any, Any, T]],
        timeout: float = TIMEOUT,
        *,
        connected: bool = True,
        durable: bool = True,
    ) -> T:
        """Connect, do something, and say goodbye.

        The profile is opened, and a passphrase asked for, before anything else is started.

        Args:
            work: an ``async def`` that takes the reactor and a client that is connected.
            timeout: seconds for the first connection; later ones are made without end.
            connected: False for a client that has not been started.
            durable: whether messages sent and received are kept in the profile.

        Returns:
            What it returned.

        Raises:
            ConnectError: if no address of the relay answers.
            AuthenticationFailed: if the relay is another one, or does not accept us.
        """
        profile, passphrase = self.profile, self.passphrase
        from securerelay.cli.messages import tell_notices
        from securerelay.cli.run import run
        from securerelay.client import connect, service

        async def working(reactor: Any) -> T:
            options: dict[str, Any] = {
                "passphrase": passphrase,
                "groups": self.groups,
                "reactor": reactor,
                "durable": durable,
            }
            if self._plain:
                options["plain"] = self._plain
            if not self.read_receipts:
                options["read_receipts"] = False
            if connected:
                client = await connect(profile, timeout=timeout, **options)
            else:
                client = service(profile, **options)
            notices = tell_notices(client, self._common.out)
            try:
                return await work(reactor, client)
            finally:
                await client.close()  # what comes up until then is told too
                notices.cancel()

        return run(working)


def _groups(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    if value is None:
        return None
    from securerelay.crypto.groups import GROUPS

    names = tuple(value.split(","))
    for name in names:
        if name not in GROUPS:
            known = ", ".join(GROUPS)
            raise click.BadParameter(f"{name!a} is no key exchange; known are {known}")
    return names


groups_option = click.option(
    "--groups",
    callback=_groups,
    envvar="SECURERELAY_GROUPS",
    metavar="NAME,...",
    help="Key exchanges to permit, best first.  [default: x25519mlkem768]",
)


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    given = value.split(",") if value else []
    return tuple(
        names.check_room(name) if name.startswith("@") else names.check_peer(name) for name in given
    )


plain_option = click.option(
    "--plain-with",
    "plain_with",
    callback=_names,
    envvar="SECURERELAY_PLAIN_WITH",
    metavar="NAME,...",
    help="Peers and rooms, such as services, with whom messages are not sealed.",
)


reading_option = click.option(
    "--read-receipts/--no-read-receipts",
    default=True,
    show_default=True,
    help="Whether senders who ask for it are told that their messages were read.",
)


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the argument ``access``, and the options that go with it."""

    def with_access(
        context: click.Context,
        /,
        *arguments: Any,
        passphrase_file: Path | None,
        groups: tuple[str, ...] | None,
        plain_with: tuple[str, ...],
        **options: Any,
    ) -> Any:
        access = Access(context.ensure_object(Common), passphrase_file, groups, plain_with)
        return context.invoke(function, *arguments, access=access, **options)

    functools.update_wrapper(with_access, function)
    option = click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        envvar="SECURERELAY_PASSPHRASE_FILE",
        metavar="FILE",
        help="Holds the passphrase of the key, if it has one.",
    )
    return option(groups_option(plain_option(click.pass_context(with_access))))
