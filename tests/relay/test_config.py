"""The configuration: defaults, strictness, and messages that lead to the line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securerelay.errors import ConfigError
from securerelay.relay.config import Config, Limits, Policy, RoomRules, default_data_folder, load


def write(folder: Path, text: str) -> Path:
    path = folder / "relay.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}:")
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}:")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Config()


def test_the_annotated_file_shows_every_key_with_its_default(root: Path, tmp_path: Path) -> None:
    text = (root / "etc" / "securerelay.toml").read_text()
    assert load(write(tmp_path, text)) == Config()
    whole = re.sub(r"^#(?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)
    for line in ("environment", "credential", "file"):
        whole = re.sub(rf"^{line} = .*\n", "", whole, flags=re.MULTILINE)
    config = load(write(tmp_path, whole))
    changed = {"data": Path("/var/lib/securerelay"), "advertise": "relay.example:3000"}
    assert config.replace(peers={}) == Config(**changed)  # type: ignore[arg-type]
    shown = set(re.findall(r"^#?([a-z_]+) = ", text, re.MULTILINE))
    for section in (Config(), *(getattr(Config(), name) for name in Config.__slots__)):
        for name in getattr(section, "__dataclass_fields__", ()):
            nested = hasattr(getattr(section, name), "__dataclass_fields__") or name == "peers"
            assert nested or name in shown, name


def test_every_section_is_read(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            """
listen = ["4000", "tcp:4001:interface=127.0.0.1"]
data = "state"
advertise = "[2001:db8::1]:3000"
[handshake]
groups = ["x25519mlkem768", "rsa3072-oaep"]
[passphrase]
file = "/run/pass"
[tls]
listen = ["4002"]
names = ["relay.example", "192.0.2.1"]
[limits]
message_bytes = 65536
[log]
format = "json"
""",
        )
    )
    assert config.listen == ("tcp:4000", "tcp:4001:interface=127.0.0.1")
    assert config.data == tmp_path / "state"
    assert config.handshake.groups == ("x25519mlkem768", "rsa3072-oaep")
    assert config.passphrase.file == Path("/run/pass")
    assert config.tls.listen == ("tcp:4002",)
    assert config.limits == Limits(message_bytes=65536)
    assert config.log.format == "json"


def test_one_peer_can_have_its_own_limits(tmp_path: Path) -> None:
    text = "[peers.alice]\nsessions = 9\n[peer]\nsessions = 2\ncalls_per_second = 7\n"
    config = load(write(tmp_path, text))
    assert config.limits_of("alice").sessions == 9
    assert config.limits_of("alice").calls_per_second == 7
    assert config.limits_of("bob").sessions == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nlisten = 3000", "2: listen: must be a list of ports or Twisted endpoint"),
        ('listen = ["3000", "70000"]', 'must be a port from 0 to 65535, not "tcp:70000"'),
        ('listen = ["tcp:http"]', '1: listen: must be a port from 0 to 65535, not "tcp:http"'),
        ('listen = ["nonsense"]', "1: listen: must be a port or a Twisted endpoint string"),
        ('name = "Relay"', "1: name: must be a name: 1 to 32"),
        ("name = 3", "1: name: must be a name: 1 to 32"),
        ('advertise = "relay"', '1: advertise: must be "host:port"'),
        ('advertise = "relay:0"', '1: advertise: must be "host:port"'),
        ("data = 7", "1: data: must be a path as a string, not 7"),
        ("[limits]\nmesage_bytes = 3\n", "2: limits.mesage_bytes: unknown key (did you mean m"),
        ("[limts]\n", "1: limts: unknown key (did you mean limits?)"),
        ("[log]\nfoo = 1\n", "2: log.foo: unknown key; known are format, lines_per_second"),
        ("limits = 3", "1: limits: must be a table, not 3"),
        ("[limits]\n\nunauthenticated = true", "3: limits.unauthenticated: must be a whole"),
        ("[limits]\nunauthenticated = 1.5", "2: limits.unauthenticated: must be a whole number"),
        ('[limits]\nunauthenticated = "512"', "2: limits.unauthenticated: must be a whole number"),
        ("[limits]\nhandshake_cpu_percent = 101", "must be a whole number from 1 to 100, not 101"),
        (
            '[handshake]\ngroups = ["x448"]',
            "2: handshake.groups: must be a list of at least one of",
        ),
        ("[handshake]\ngroups = []", "2: handshake.groups: must be"),
        ('[handshake]\nsuites = ["aes256gcm", "aes256gcm"]', "each once"),
        ('[log]\nformat = "xml"', '2: log.format: must be "text" or "json", not "xml"'),
        ("[peers.Alice]\nsessions = 1", "1: peers.Alice: must be a name"),
        ("[peers]\nalice = 1", "2: peers.alice: must be a table, not 1"),
        ("[peers.alice]\nsession = 1", "2: peers.alice.session: unknown key (did you mean s"),
        ('[policy]\ninvite = "alice"', "2: policy.invite: must be a list of peers' names"),
        ('[policy]\ninvite = ["Al ice"]', 'for everyone, not "Al ice"'),
        ('[policy.see]\n"*" = ["@team"]', "policy.see: must be a table such as"),
        ("[policy]\nrequire_sealed = 1", "2: policy.require_sealed: must be true or false, not 1"),
        ('[policy]\nplain = ["Al ice"]', 'names of peers and rooms, or ["*"] for everyone'),
        ('[policy]\nplain = "clock"', "policy.plain: must be a list of names of peers and rooms"),
        ('[policy]\ninvite = ["@team"]', "policy.invite: must be a list of peers' names"),
        ("[rooms]\nlists = 0", "2: rooms.lists: must be a whole number from 1 to 65536"),
        ("[rooms]\neveryone = true", "2: rooms.everyone: must be a list of peers' names"),
        ("[policy]\nsend = []", "2: policy.send: must be a table such as"),
        ('[policy.send]\nBob = ["alice"]', "policy.send: must be a table such as"),
        ('[tls]\nnames = ["*.example"]', "2: tls.names: must be a list of host names"),
        ('[passphrase]\nfile = "a"\nenvironment = "B"', "1: passphrase: give one of"),
        ("[limits]\nmessage_bytes = 8388608", "2: limits.message_bytes: must not be above half of"),
        ("[limits]\nfirst_byte_seconds = 20", "2: limits.first_byte_seconds: must not be above"),
        ("[lifetimes]\nmail_longest = 10", "lifetimes.mail: must not be above"),
        ("a = ", "1: not TOML: "),
        ('a = "', "1: not TOML: "),
        ("[log]\n[log]", "2: not TOML: "),
        ('"li\\u001bsten" = 1', "1: li\\x1bsten: unknown key"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 10_000])
def test_what_python_itself_cannot_read_is_told_too(tmp_path: Path, text: str) -> None:
    assert ":" in refused(tmp_path, text)


@given(
    st.lists(
        st.sampled_from(
            [
                *"[]='\"\n.,{}#*\0\u202e",
                *("listen", "limits", "peers", "policy", "see", "name", "alice"),
                *("3000", "-1", "true", "1979-05-27"),
            ]
        ),
        max_size=30,
    ).map("".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    try:
        load(path)
        return
    except ConfigError as error:
        message = error.message
    assert message.startswith(f"{path}:")
    assert message.isprintable()


def test_a_missing_file_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(tmp_path / "nowhere.toml")
    path = tmp_path / "relay.toml"
    path.write_bytes(b"\n\xff = 1")
    with pytest.raises(ConfigError, match=r"relay\.toml:2: not UTF-8 text"):
        load(path)


def test_rooms_are_among_those_to_whom_a_peer_may_send(tmp_path: Path) -> None:
    text = '[policy.send]\n"*" = ["bob", "@team"]\n[rooms]\neveryone = ["alice"]\nmembers = 10'
    config = load(write(tmp_path, text))
    allowed = [config.policy.may_send("alice", to) for to in ("bob", "@team", "team", "@other")]
    assert allowed == [True, True, False, False]
    assert config.rooms == RoomRules(everyone=frozenset({"alice"}), members=10)


def test_the_policy_asks_for_a_peers_own_entry_first(tmp_path: Path) -> None:
    policy = load(
        write(
            tmp_path,
            """
[policy]
invite = ["alice"]
[policy.send]
"*" = ["helpdesk"]
helpdesk = ["*"]
[policy.see]
bob = []
""",
        )
    ).policy
    assert policy.may_invite("alice")
    assert not policy.may_invite("bob")
    assert policy.may_send("bob", "helpdesk")
    assert policy.may_send("helpdesk", "bob")
    assert not policy.may_send("bob", "alice")
    assert policy.may_see("bob", "bob")
    assert not policy.may_see("bob", "alice")
    assert not policy.may_see("alice", "bob"), "who has no entry and finds none for all sees nobody"


def test_who_may_send_plain_bodies_is_named(tmp_path: Path) -> None:
    policy = load(write(tmp_path, '[policy]\nplain = ["clock", "@all"]')).policy
    free = [("clock", "bob"), ("bob", "clock"), ("bob", "@all")]
    assert [policy.must_seal(*pair) for pair in free] == [False] * 3
    assert policy.must_seal("alice", "bob")
    assert policy.must_seal("alice", "@everyone")
    assert Policy().must_seal("alice", "bob")
    assert not Policy().must_seal("alice", "@everyone")
    assert not Policy(require_sealed=False).must_seal("alice", "bob")


def test_by_default_everyone_may_send_and_see_and_nobody_invite() -> None:
    policy = Config().policy
    assert policy.may_send("alice", "bob")
    assert policy.may_see("alice", "bob")
    assert not policy.may_invite("alice")


def test_the_data_folder_is_systemds_then_roots_then_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_folder() == Path("/var/lib/securerelay")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_folder() == Path("/home/me/data/securerelay")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_data_folder() == Path("/var/lib/one")
