"""Imports run one way, downwards, and nothing of Twisted is needed below the line."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "securerelay"

# Room by room, what it may import besides itself: rooms, or single modules of them. Every room may
# use the ground.
GROUND = {"errors", "names", "text"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "names": set(),
    "text": set(),
    "files": set(),
    "failpoints": set(),
    "crypto": set(),
    "protocol": {"crypto"},
    "identity": {"crypto", "protocol", "files"},
    "sealing": {"crypto", "protocol", "identity"},
    "store": {"crypto", "files"},
    "relay": {
        "crypto",
        "protocol",
        "identity",
        "store",
        "files",
        "failpoints",
        # What peers sign for each other is checked before it is kept; nothing is opened.
        "sealing.bundle",
        "sealing.fingerprint",
        "sealing.roomlist",
    },
    "client": {"crypto", "protocol", "identity", "sealing", "files"},
    "channel": {"crypto", "protocol", "identity", "files"},
    "audit": {"crypto", "protocol", "identity"},
    "cli": {
        "crypto",
        "protocol",
        "identity",
        "sealing",
        "client",
        "channel",
        "audit",
        "files",
        "relay.config",
        "store.copies",
    },
    "tap": {"relay"},
}


def room_of(path: pathlib.Path) -> str:
    """The top-level module or package of securerelay that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, anywhere in it, with its line.

    ``from securerelay import x`` counts as ``securerelay.x``.
    """
    module = path.relative_to(ROOT).with_suffix("").parts
    package = module[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            for name in node.names:
                yield node.lineno, f"{stem}.{name.name}"


def sources() -> list[pathlib.Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) not in {"__init__"})


def test_every_room_imports_only_what_lies_below_it():
    wrong = []
    for path in sources():
        room = room_of(path)
        if room == "__main__":
            continue
        assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
        allowed = MAY_IMPORT[room] | GROUND | {room}
        for line, module in imports(path):
            parts = module.split(".")
            inside = parts[0] == "securerelay" and parts[1:2] not in ([], ["__version__"])
            if inside and parts[1] not in allowed and ".".join(parts[1:3]) not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["crypto", "protocol", "sealing", "errors", "names", "text"])
def test_the_core_imports_neither_twisted_nor_anything_that_does_input_or_output(room: str):
    forbidden = {"twisted", "zope", "OpenSSL", "socket", "ssl", "select", "asyncio", "threading"}
    forbidden |= {"pathlib", "os", "io", "tempfile", "subprocess", "time", "datetime", "sqlite3"}
    # The one place that draws random bytes.
    random = "securerelay/crypto/primitives.py", "os"
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in sources()
        if room_of(path) == room
        for line, module in imports(path)
        if module.split(".")[0] in forbidden and (str(path.relative_to(ROOT)), module) != random
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_can_be_imported_where_twisted_is_not_installed():
    program = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"twisted", "zope", "OpenSSL", "click"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import securerelay.crypto, securerelay.protocol, securerelay.sealing
for package in (securerelay.crypto, securerelay.protocol, securerelay.sealing):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
import securerelay.errors, securerelay.names, securerelay.text
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_module_is_longer_than_four_hundred_lines_without_a_reason_at_its_top():
    folders = ("securerelay", "twisted", "tools", "tests", "benchmarks", "docs")
    long = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > 400 and "400 lines" not in text.partition("\nfrom __future__")[0]:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not long, "\n".join(long)
