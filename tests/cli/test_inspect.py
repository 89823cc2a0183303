"""What a sealed message shows: its structure, and nothing that takes a key."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from securerelay.cli import inspect
from securerelay.sealing import roommessage
from tests.cli.conftest import Run
from tests.sealing import world


def roomy() -> bytes:
    """A message of alice's to a room with bob."""
    key = world.room_key(world.room(world.alice(), world.bob()))
    content = world.message(to="@team", index=1, seq=1)
    return roommessage.seal(content, world.alice().author, key, b"s" * 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "message"


def test_the_parts_of_an_envelope_cover_it_and_name_both_keys(run: Run, file: Path):
    body = world.sealed()
    file.write_bytes(body)
    ran = run("inspect", str(file), "--json")
    assert ran.status == 0
    assert sum(part["size"] for part in ran.records) == len(body)
    values = {part["name"]: part["value"] for part in ran.records}
    assert values["sender id"] == world.alice().identity.sender_id.hex()
    assert values["prekey id"] == world.bob().prekey.id.hex()
    assert values["ciphertext"] is None


def test_people_see_a_line_for_each_part(run: Run, file: Path):
    file.write_bytes(roomy())
    ran = run("inspect", str(file))
    lines = ran.out.splitlines()
    assert len(lines) == 8
    assert "list version" in lines[4]
    assert lines[4].endswith(": 1")
    assert "hello" not in ran.out


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_a_message_may_be_given_in_base64_as_listen_writes_it(run: Run, file: Path, encode):
    file.write_bytes(world.sealed())
    expected = run("inspect", str(file)).out
    file.write_bytes(encode(file.read_bytes()) + b"\n")
    assert run("inspect", str(file)).out == expected


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_without_a_file_the_standard_input_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    stdin = SimpleNamespace(buffer=io.BytesIO(world.sealed()))
    monkeypatch.setattr(inspect, "sys", SimpleNamespace(stdin=stdin))
    assert "prekey id" in run("inspect", *arguments).out


@pytest.mark.parametrize(
    "body", [b"", b"hello bob", b"SRE1", b"SRE1\x01" + bytes(400), b"c2hvcnQ="]
)
def test_what_is_no_sealed_message_is_called_so(run: Run, file: Path, body: bytes):
    file.write_bytes(body)
    ran = run("inspect", str(file), "--json")
    assert (ran.status, ran.error["error"], ran.out) == (1, "unsealed", "")


def test_what_is_larger_than_any_message_is_not_read_on(run: Run, file: Path):
    file.write_bytes(bytes(inspect.LONGEST + 1))
    assert run("inspect", str(file), "--json").error["error"] == "too-large"


def test_a_file_that_is_not_there_is_one_clear_line(run: Run, tmp_path: Path):
    ran = run("inspect", str(tmp_path / "nowhere"))
    assert (ran.status, ran.err.count("\n")) == (1, 1)
