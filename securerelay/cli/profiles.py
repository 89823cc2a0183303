"""Whom a verb acts as: finding the profile, opening its key, and connecting in its name."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securerelay.cli import passphrases
from securerelay.cli.options import Common
from securerelay.identity import profiles

if TYPE_CHECKING:
    from securerelay.client import Client
    from securerelay.identity.profile import Profile

TIMEOUT = 30.0
"""Seconds for the first connection."""


class Access:
    """A profile that a verb acts as.

    Args:
        common: says which.
        passphrase_file: holds the passphrase of its key, if it has one and the file is given.
    """

    def __init__(self, common: Common, passphrase_file: Path | None) -> None:
        self._common = common
        self._file = passphrase_file

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

    @asynccontextmanager
    async def connection(self, reactor: Any, timeout: float = TIMEOUT) -> AsyncIterator[Client]:
        """Connect, and say goodbye at the end.

        Args:
            reactor: the reactor.
            timeout: seconds for the first connection; later ones are made without end.

        Raises:
            ConnectError: if no address of the relay answers.
            AuthenticationFailed: if the relay is another one, or does not accept us.
        """
        from securerelay.client import connect

        client = await connect(
            self.profile, passphrase=self.passphrase, reactor=reactor, timeout=timeout
        )
        try:
            yield client
        finally:
            await client.close()


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the argument ``access``, and the option for its passphrase."""

    def with_access(
        context: click.Context, *arguments: Any, passphrase_file: Path | None, **options: Any
    ) -> Any:
        access = Access(context.ensure_object(Common), passphrase_file)
        return context.invoke(function, *arguments, access=access, **options)

    functools.update_wrapper(with_access, function)
    option = click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        envvar="SECURERELAY_PASSPHRASE_FILE",
        metavar="FILE",
        help="Holds the passphrase of the key, if it has one.",
    )
    return option(click.pass_context(with_access))
