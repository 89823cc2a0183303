"""Hosts and guests with keys that the tests share."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache

from securerelay.channel.guest import Guest
from securerelay.channel.host import Host
from securerelay.channel.pipe import Pipe
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.identity.authority import Authority
from securerelay.identity.invitation import Invitation
from tests.keys import rsa_key

NOW = 1_800_000_000.0
HOST_KEY, GUEST_KEY, OTHER_KEY, CA_KEY, OTHER_CA_KEY = range(5)


@cache
def authority(index: int = CA_KEY) -> Authority:
    now = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
    return Authority.from_key(rsa_key(index=index), now)


def make_host(
    established: Callable[[Pipe], None],
    ca: int = CA_KEY,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    now: Callable[[], float] = lambda: NOW,
) -> Host:
    return Host(
        authority(ca),
        rsa_key(index=HOST_KEY),
        ("localhost", 1),
        established,
        groups=groups,
        now=now,
    )


def make_guest(
    invitation: Invitation, key: int = GUEST_KEY, groups: tuple[str, ...] = DEFAULT_GROUPS
) -> Guest:
    return Guest(invitation, rsa_key(index=key), groups=groups, now=lambda: NOW)
