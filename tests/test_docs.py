"""The documentation tells of every command, every setting and every constant of the protocol."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest

from securerelay.crypto import contexts, groups, primitives
from securerelay.names import RESERVED
from securerelay.protocol import hello, link, messages, records
from securerelay.protocol.transcript import Item
from securerelay.relay.config import Config
from securerelay.relay.methods import METHODS
from securerelay.tap import Options

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"


def text_of(*names: str) -> str:
    return "\n".join((DOCS / name).read_text(encoding="utf-8") for name in names)


PROTOCOL = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference/protocol").glob("*.*"))
)


def test_every_page_is_reached_from_another_one():
    """A page outside every table of contents is a warning, and `make docs` takes none."""
    conf = text_of("conf.py")
    assert "suppress_warnings" not in conf
    assert " -W " in (ROOT / "Makefile").read_text(encoding="utf-8")


# What stays on the machine, or is between peers alone, is no part of the protocol with the relay.
ELSEWHERE = (b"securerelay/1 profile ", b"securerelay/1 e2e ")


@pytest.mark.parametrize(
    "context",
    sorted(
        value
        for value in {value for value in vars(contexts).values() if isinstance(value, bytes)}
        if not value.startswith(ELSEWHERE)
    ),
    ids=lambda value: value.decode(),
)
def test_every_label_and_context_is_in_the_protocol_reference(context: bytes):
    assert f'"{context.decode()}"' in PROTOCOL or f"``{context.decode()}``" in PROTOCOL


def test_every_group_and_suite_is_in_the_protocol_reference():
    for name in (*groups.GROUPS, *primitives.SUITES):
        assert f"``{name}``" in PROTOCOL


def test_every_error_code_and_alert_is_in_the_protocol_reference():
    for code in hello.ERROR_CODES | link.ALERTS:
        assert f"``{code}``" in PROTOCOL


def test_every_item_record_and_verb_is_in_the_protocol_reference():
    for item in Item:
        assert re.search(rf"^ +\* - {item.value:02X}$", PROTOCOL, re.MULTILINE), item
    for kind in records.Kind:
        assert f"   * - {kind.value}\n     - {kind.name}\n" in PROTOCOL
    for verb in (*messages._FROM_CLIENT, *messages._FROM_RELAY):
        assert re.search(rf"``{verb.decode()}[ `]", PROTOCOL), verb


def test_the_sizes_in_the_protocol_reference_are_those_of_the_code():
    for size in (4128, records.MAX_CONTENT, *(size + 16 for size in records.SIZES)):
        assert f"{size:,}" in PROTOCOL or str(size) in PROTOCOL


def test_the_reference_of_the_command_line_is_made_from_the_commands():
    """So no command or option can be missing there."""
    assert ".. commands::" in text_of("reference/commandline.rst")


def settings(kind: type, prefix: str = "") -> list[str]:
    """The keys of a section of the configuration, and of the sections in it."""
    found = []
    for field in dataclasses.fields(kind):
        default = field.default_factory
        if isinstance(default, type) and dataclasses.is_dataclass(default):
            found += settings(default, f"{field.name}.")
        else:
            found.append(prefix + field.name)
    return found


def test_every_setting_is_in_the_annotated_configuration():
    """The reference shows that very file."""
    assert "literalinclude:: ../../etc/securerelay.toml" in text_of("reference/configuration.rst")
    lines = (ROOT / "etc/securerelay.toml").read_text(encoding="utf-8").splitlines()
    section = ""
    shown = set()
    for line in lines:
        if head := re.fullmatch(r"#?\[([a-z_]+)(\.[a-z]+)?\]", line):
            section = f"{head[1]}."
        elif key := re.match(r"#?([a-z_]+) = ", line):
            shown.add(section + key[1])
    assert set(settings(Config)) - {"peers"} <= shown


def test_every_limit_with_a_key_is_in_the_table_of_limits():
    page = text_of("topics/limits.rst")
    keys = {key for key in settings(Config) if key.startswith(("limits.", "peer."))}
    told = {
        key
        for key in keys
        if f"``{key.partition('.')[2]}``" in page or key.partition(".")[2] in page
    }
    assert keys - told <= {"peer.rooms", "limits.drain_seconds"}


def test_the_reserved_names_are_told():
    for name in RESERVED:
        assert f"``{name}``" in PROTOCOL


def test_every_option_of_the_daemon_is_told():
    page = text_of("reference/daemon.rst")
    options = Options()
    for option in options.longOpt:
        assert f"``--{option.rstrip('=')}" in page or option in ("version", "help"), option


def test_every_control_method_and_event_is_in_the_protocol_reference():
    for method in METHODS:
        assert f"``{method.decode()}``" in PROTOCOL
    relay = "\n".join(path.read_text() for path in (ROOT / "securerelay/relay").rglob("*.py"))
    for kind in set(re.findall(r'messages\.event\(b"([a-z.]+)"', relay)):
        assert f"   * - ``{kind}``\n" in PROTOCOL


def test_what_the_security_model_points_to_is_there():
    """Each claim names where it is tested: files and folders, targets of make, benchmarks."""
    table = text_of("topics/security.rst").partition("   * - claim\n")[2].partition("\n\n")[0]
    rows = table.split("\n   * - ")[1:]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for row in rows:
        claim, _, where = row.rpartition("\n     - ")
        named = re.findall(r"``([^`]+)``", where)
        assert named, claim
        for name in named:
            command, _, argument = name.rpartition(" ")
            if command == "make":
                assert f"\n{argument}:" in makefile, name
            elif command == "python -m benchmarks":
                assert (ROOT / f"benchmarks/{argument}.py").exists(), name
            else:
                place = ROOT / name
                assert place.exists(), name
                if name.startswith("tests/") and place.is_dir():
                    assert any(place.rglob("test_*.py")), name
    assert len(rows) >= 20
