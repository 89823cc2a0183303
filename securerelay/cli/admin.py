"""The administrator's way to the relay on this machine: a Unix socket, a line of JSON each way."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securerelay.cli.exits import Failure
from securerelay.errors import FolderLocked

SOCKET_NAME = "admin.sock"
TIMEOUT = 30.0
"""Seconds for an answer; issuing waits for the disk."""
LONG = 6 * 3600.0
"""Seconds for an answer that takes a copy of everything."""
LONGEST = 64 << 20


def ask(folder: Path, verb: str, *, patience: float = TIMEOUT, **arguments: Any) -> dict[str, Any]:
    """Ask the relay that serves a data folder.

    Args:
        folder: the data folder.
        verb: what to do, such as ``invite``.
        patience: seconds that an answer may take.
        arguments: what the verb takes; those that are None are left out.

    Returns:
        The answer, without its ``ok``.

    Raises:
        Failure: if no relay answers, or it refuses.
    """
    request = {
        "verb": verb,
        **{key: value for key, value in arguments.items() if value is not None},
    }
    path = str(folder / SOCKET_NAME)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = _line(connection)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise Failure(
            "connect",
            f"no relay is running on {folder}; one starts with: "
            f"twistd -n securerelay --data {folder}",
        ) from None
    except PermissionError:
        raise Failure(
            "permission", f"the relay on {folder} belongs to another user; run this as that user"
        ) from None
    except TimeoutError:
        raise Failure("timeout", f"the relay on {folder} does not answer") from None
    except OSError as error:
        raise Failure("connect", f"cannot talk to the relay on {folder}: {error}") from None
    return _answer(line, folder)


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """Say what to do about a relay that runs on a folder that is needed alone."""
    try:
        yield
    except FolderLocked as error:
        raise Failure("locked", f"{error.message}; stop it first") from None


def _line(connection: socket.socket) -> bytes:
    held = bytearray()
    while not held.endswith(b"\n") and len(held) < LONGEST:
        block = connection.recv(65536)
        if not block:
            break
        held += block
    return bytes(held)


def _answer(line: bytes, folder: Path) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        accepted = answer.pop("ok")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise Failure("connect", f"the relay on {folder} gave no answer") from None
    if accepted is not True:
        raise Failure(str(answer.get("code", "error")), str(answer.get("message", "refused")))
    return dict(answer)
