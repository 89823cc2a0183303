"""``profile.json``: what a profile knows that is no secret key, read strictly."""

from __future__ import annotations

import base64
import json
import pathlib
from dataclasses import dataclass, field
from typing import Any

from securerelay import files, names
from securerelay.errors import LocalError, ProfileError
from securerelay.identity.invitation import Invitation, format_address, parse_address

_VERSION = 1
_KEYS = {
    *("version", "name", "relay_id", "relay_name", "addresses"),
    *("certificate", "ca_spki", "invitation"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a profile says.

    Args:
        name: the peer's name.
        relay_id: the relay's, 32 bytes.
        addresses: hosts without brackets, and ports, in the order to try; not empty.
        relay_name: what the relay called itself at enrolment; None before.
        certificate: the peer's, DER; None before enrolment.
        ca_spki: the SubjectPublicKeyInfo of the relay's authority, DER; None before enrolment.
        invitation: until enrolment is over.
    """

    name: str
    relay_id: bytes
    addresses: tuple[tuple[str, int], ...]
    relay_name: str | None = None
    certificate: bytes | None = None
    ca_spki: bytes | None = None
    invitation: Invitation | None = field(default=None, repr=False)


def read(path: pathlib.Path) -> Facts:
    """Read a profile's facts.

    Args:
        path: the file.

    Raises:
        ProfileError: if it cannot be read, is open to others, or says what no profile says.
    """
    try:
        return parse(files.read_private(path), str(path))
    except LocalError as error:
        raise ProfileError(error.message) from None


def parse(data: bytes, source: str) -> Facts:
    """Read a profile's facts from what is in its file.

    Args:
        data: all of it.
        source: what to call it if it is none.

    Raises:
        ProfileError: if it says what no profile says.
    """
    try:
        return _facts(json.loads(data))
    except LocalError as error:
        raise ProfileError(error.message) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProfileError(f"{source} is damaged, or of another version of this program") from None


def write(path: pathlib.Path, facts: Facts) -> None:
    """Write a profile's facts, all at once.

    Raises:
        LocalError: if they cannot be written.
    """
    content = {
        "version": _VERSION,
        "name": facts.name,
        "relay_id": facts.relay_id.hex(),
        "relay_name": facts.relay_name,
        "addresses": [format_address(host, port) for host, port in facts.addresses],
        "certificate": _encode(facts.certificate),
        "ca_spki": _encode(facts.ca_spki),
        "invitation": facts.invitation.uri() if facts.invitation else None,
    }
    files.write_private(path, json.dumps(content, indent=2).encode() + b"\n")


def _facts(content: dict[str, Any]) -> Facts:
    if content.keys() != _KEYS or content["version"] != _VERSION:
        raise ValueError("another version")
    relay_name, invitation = content["relay_name"], content["invitation"]
    facts = Facts(
        name=names.check_peer(content["name"]),
        relay_id=bytes.fromhex(content["relay_id"]),
        addresses=tuple(parse_address(address) for address in content["addresses"]),
        relay_name=None if relay_name is None else names.check_peer(relay_name),
        certificate=_decode(content["certificate"]),
        ca_spki=_decode(content["ca_spki"]),
        invitation=None if invitation is None else Invitation.parse(invitation),
    )
    enrolled = facts.certificate is not None and facts.ca_spki is not None
    if len(facts.relay_id) != 32 or not facts.addresses or enrolled == bool(facts.invitation):
        raise ValueError("incomplete")
    return facts


def _encode(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decode(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
