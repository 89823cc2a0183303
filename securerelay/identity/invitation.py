"""Invitations: one line that lets one newcomer join one relay (SR1 section 6).

::

    securerelay://HOST:PORT/NAME#sr1i_<104 characters of base32>

The checksum covers every character, so a typing error is told apart from an invitation that was
used or withdrawn.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field

from securerelay import names
from securerelay.crypto import contexts, primitives
from securerelay.errors import InvitationError

SCHEME = "securerelay://"
_MARK = "sr1i_"
_VERSION = 1
_ENCODED = 104
TOKEN_SIZE = 6
SEED_SIZE = 16
_CHECKSUM_SIZE = 5
_LATEST = (1 << 40) - 1

_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@]+):([1-9][0-9]{0,4})", re.ASCII)
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?",
    re.ASCII,
)
_BASE32 = re.compile(r"[a-z2-7]{104}")


def parse_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, with brackets around an IPv6 address.

    Args:
        text: the address.

    Returns:
        The host, without brackets, and the port.

    Raises:
        ValueError: if it is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("an address is HOST:PORT, with an IPv6 address in brackets")
    host, port = match[1], int(match[2])
    if host[0] == "[":
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("the host is no IPv6 address") from None
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither a host name nor an IP address")
    if port > 0xFFFF:
        raise ValueError("a port is at most 65535")
    return host, port


def format_address(host: str, port: int) -> str:
    """Write an address so that :func:`parse_address` reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation says.

    Args:
        relay_id: the relay's, 32 bytes.
        token: names the invitation to the relay, 6 bytes.
        seed: what the newcomer proves to know, 16 bytes; it never leaves the newcomer.
        expiry: when it ends, Unix seconds.
        host: the relay's host name or IP address, without brackets.
        port: its port.
        name: the name of the newcomer.
    """

    relay_id: bytes
    token: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    expiry: int
    host: str
    port: int
    name: str

    def __post_init__(self) -> None:
        sizes = len(self.relay_id), len(self.token), len(self.seed)
        if sizes != (32, TOKEN_SIZE, SEED_SIZE) or not 0 <= self.expiry <= _LATEST:
            raise ValueError("an invitation has fields of fixed size")
        names.check_peer(self.name)
        parse_address(self.address)

    @classmethod
    def create(cls, relay_id: bytes, host: str, port: int, name: str, expiry: int) -> Invitation:
        """Make an invitation with a new token and seed; arguments as in the class.

        Raises:
            ValueError: if host or port are none.
            BadName: if the name is none.
        """
        token = primitives.random_bytes(TOKEN_SIZE)
        seed = primitives.random_bytes(SEED_SIZE)
        return cls(relay_id, token, seed, expiry, host, port, name)

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read an invitation as somebody pasted it.

        Args:
            text: the line; space around it is ignored.

        Raises:
            InvitationError: if it is none, is mistyped, or is of another version.
        """
        text = text.strip()
        before, mark, encoded = text.partition("#" + _MARK)
        if not before.startswith(SCHEME) or not mark:
            raise InvitationError(
                "this is not an invitation: one begins with securerelay:// and holds #sr1i_"
            )
        if len(encoded) != _ENCODED:
            raise InvitationError(
                f"the invitation is not complete: {_ENCODED} characters follow sr1i_, "
                f"here are {len(encoded)}"
            )
        if not _BASE32.fullmatch(encoded):
            raise InvitationError(
                "the invitation has a typing error: only a-z and 2-7 may follow sr1i_"
            )
        raw = base64.b32decode(encoded.upper())
        content, checksum = raw[:-_CHECKSUM_SIZE], raw[-_CHECKSUM_SIZE:]
        if not primitives.equal(checksum, _checksum(before, content)):
            raise InvitationError("the invitation has a typing error: its checksum is wrong")
        if content[0] != _VERSION:
            raise InvitationError("the invitation is for another version of SecureRelay")
        return cls._of(before, content)

    @classmethod
    def _of(cls, before: str, content: bytes) -> Invitation:
        address, _, name = before.removeprefix(SCHEME).partition("/")
        try:
            if not names.is_peer(name.encode()):
                raise ValueError("that is no name")
            host, port = parse_address(address)
            return cls(
                relay_id=content[1:33],
                token=content[33:39],
                seed=content[39:55],
                expiry=int.from_bytes(content[55:60], "big"),
                host=host,
                port=port,
                name=name,
            )
        except ValueError as error:
            raise InvitationError(f"this is not an invitation: {error}") from None

    @property
    def address(self) -> str:
        """``HOST:PORT``, with brackets around an IPv6 address."""
        return format_address(self.host, self.port)

    def _before(self) -> str:
        return f"{SCHEME}{self.address}/{self.name}"

    def uri(self) -> str:
        """Return the invitation as the line to hand over; whoever has it can use it."""
        before = self._before()
        content = b"".join(
            (
                bytes((_VERSION,)),
                self.relay_id,
                self.token,
                self.seed,
                self.expiry.to_bytes(5, "big"),
            )
        )
        encoded = base64.b32encode(content + _checksum(before, content)).decode().lower()
        return f"{before}#{_MARK}{encoded}"

    @property
    def signing_seed(self) -> bytes:
        """The private seed of the invitation's Ed25519 key, 32 bytes."""
        secret = primitives.hkdf_extract(bytes(primitives.HASH_SIZE), self.seed)
        return primitives.hkdf_expand(secret, contexts.INVITATION_SEED, 32)

    @property
    def public_key(self) -> bytes:
        """The public half of its Ed25519 key, 32 bytes: all that the relay keeps."""
        return primitives.ed25519_public(self.signing_seed)

    def require_current(self, now: float) -> None:
        """Refuse an invitation that is over.

        Args:
            now: Unix seconds.

        Raises:
            InvitationError: if it has expired.
        """
        if now >= self.expiry:
            raise InvitationError("the invitation has expired; ask for a new one")


def _checksum(before: str, content: bytes) -> bytes:
    text = before.encode("utf-8", "surrogatepass")
    return primitives.sha384(contexts.INVITATION_CHECKSUM, text, content)[:_CHECKSUM_SIZE]
