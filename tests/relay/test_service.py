"""A relay from start to end, with a reactor and a store in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from twisted.internet.defer import Deferred, fail, succeed

from securerelay.errors import ConfigError, LocalError, StorageError
from securerelay.identity import keylog
from securerelay.identity.invitation import Invitation
from securerelay.relay.config import Certificates, Config, Handshake, Lifetimes, Limits, Tls
from securerelay.relay.service import DAY
from securerelay.relay.tls import hosts
from tests.relay.in_memory import Relay
from tests.relay.world import done
from tests.store.samples import ticket


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path).start()


def test_a_started_relay_says_where_it_listens_and_who_it_is(tmp_path: Path) -> None:
    relay = Relay(tmp_path).start()
    (line,) = relay.recorded.lines
    assert line.startswith('info relay.ready listen="0.0.0.0 port 3000" id=')
    assert relay.service.relay_id.hex() in line
    assert str(tmp_path / "data") in line


def test_status_tells_what_the_relay_is_and_does(relay: Relay) -> None:
    relay.enrol("alice")
    status = relay.ask("status")
    assert status["ok"] is True
    assert status["id"] == relay.service.relay_id.hex()
    assert status["enrolled"] == 1
    assert status["sessions"] == 0
    assert status["listen"] == ["0.0.0.0 port 3000"]
    assert status["certificate_expires"] > relay.reactor.seconds() * 1000


def test_an_invitation_leads_here_unless_the_relay_advertises_another_address(relay: Relay) -> None:
    answer = relay.ask("invite", name="alice")
    invitation = Invitation.parse(answer["uri"])
    assert (invitation.host, invitation.port, invitation.name) == ("127.0.0.1", 3000, "alice")
    assert invitation.relay_id == relay.service.relay_id
    assert answer["expires"] == invitation.expiry * 1000
    assert invitation.expiry == int(relay.reactor.seconds()) + 86_400
    assert "127.0.0.1" in answer["note"]
    relay.next = relay.service.config.replace(advertise="relay.example:4000")
    relay.ask("reload")
    answer = relay.ask("invite", name="bob", expires=60)
    assert Invitation.parse(answer["uri"]).address == "relay.example:4000"
    assert "note" not in answer
    given = relay.ask("invite", name="carol", address="[::1]:5", roles=["invite"])
    assert Invitation.parse(given["uri"]).address == "[::1]:5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name must be a string"),
        ({"name": 3}, "name must be a string"),
        ({"name": "Alice"}, "is no name"),
        ({"name": "admin"}, "is reserved"),
        ({"name": "alice", "expires": 1}, "from 60 seconds to 30 days"),
        ({"name": "alice", "expires": True}, "expires must be a whole number"),
        ({"name": "alice", "expire": 600}, "there is no argument 'expire'"),
        ({"name": "alice", "address": "nowhere"}, "HOST:PORT"),
        ({"name": "alice", "roles": ["king"]}, "there is no role 'king'"),
        ({"name": "alice", "roles": [1]}, "roles must be a list of strings"),
    ],
)
def test_what_cannot_be_invited_is_told(
    relay: Relay, arguments: dict[str, Any], message: str
) -> None:
    answer = relay.ask("invite", **arguments)
    assert answer["ok"] is False
    assert message in answer["message"]
    assert relay.ask("invitations")["invitations"] == []


def test_a_name_like_an_enrolled_one_is_not_given_out(relay: Relay) -> None:
    relay.enrol("alice")
    answer = relay.ask("invite", name="alice")
    assert answer["code"] == "name-taken"
    assert answer["message"] == "alice is taken, or was used before; choose another name"
    answer = relay.ask("invite", name="a1ice")
    assert answer["code"] == "name-taken"
    assert answer["message"] == "a1ice looks too much like alice"


def test_invitations_are_listed_and_can_be_withdrawn(relay: Relay) -> None:
    token = relay.ask("invite", name="alice")["token"]
    relay.ask("invite", name="bob", expires=60)
    relay.reactor.advance(61)
    listed = {row["name"]: row for row in relay.ask("invitations")["invitations"]}
    assert listed["alice"]["state"] == "open"
    assert listed["bob"]["state"] == "expired"
    assert "seed" not in listed["alice"]
    assert relay.ask("withdraw", token=token)["ok"] is True
    assert relay.ask("withdraw", token=token)["code"] == "unknown"
    assert relay.ask("withdraw", token="xyz")["message"] == "a token is 12 hexadecimal digits"
    listed = {row["name"]: row for row in relay.ask("invitations")["invitations"]}
    assert listed["alice"]["state"] == "withdrawn"


def test_issued_certificates_are_listed_and_those_that_expire_soon(relay: Relay) -> None:
    relay.enrol("alice", days=30)
    relay.enrol("bob", days=3)
    issued = relay.ask("issued")["issued"]
    assert [row["name"] for row in issued] == ["alice", "bob"]
    assert issued[0]["serial"] == "4d"
    assert [row["name"] for row in relay.ask("issued", expiring_days=7)["issued"]] == ["bob"]


def test_a_revoked_peer_is_revoked_for_ever(relay: Relay) -> None:
    relay.enrol("alice")
    assert relay.ask("revoke", name="alice") == {"ok": True, "name": "alice", "sessions": 0}
    assert relay.ask("issued")["issued"][0]["state"] == "revoked"
    assert relay.ask("invite", name="alice")["code"] == "name-taken"
    answer = relay.ask("revoke", name="bob")
    assert (answer["code"], answer["message"]) == ("unknown", "there is no peer bob")


def test_a_room_is_given_to_a_member_and_to_nobody_else(relay: Relay) -> None:
    answer = relay.ask("give", room="@team", owner="bob")
    assert answer["code"] == "unknown"
    assert relay.ask("give", room="team", owner="bob")["code"] == "refused"


def test_nobody_is_connected_at_first(relay: Relay) -> None:
    assert relay.ask("peers") == {"ok": True, "peers": []}


def test_an_alarm_stays_until_it_is_acknowledged(relay: Relay) -> None:
    tokens = [relay.ask("invite", name=name)["token"] for name in ("alice", "bob", "carol")]
    for token in tokens[:2]:
        assert done(relay.service.store.dispute(bytes.fromhex(token), 7))
    listed = relay.ask("alarms")["alarms"]
    assert {(row["name"], row["disputed"]) for row in listed} == {("alice", 7), ("bob", 7)}
    assert relay.ask("status")["alarms"] == 2
    assert relay.ask("alarms", acknowledge=tokens[2])["code"] == "unknown"
    answer = relay.ask("alarms", acknowledge=tokens[0])
    assert (answer["acknowledged"], [row["name"] for row in answer["alarms"]]) == (1, ["bob"])
    assert relay.ask("alarms", acknowledge="all")["acknowledged"] == 1
    assert relay.ask("alarms", acknowledge="all")["acknowledged"] == 0
    assert relay.ask("status")["alarms"] == 0


def test_penalties_are_listed_and_lifted(relay: Relay) -> None:
    for source in ("192.0.2.1", "2001:db8::/64"):
        for _ in range(3):
            relay.service.gate.penalise(source, "failed")
    assert {row["source"] for row in relay.ask("penalties")["penalties"]} == {
        "192.0.2.1",
        "2001:db8::/64",
    }
    answer = relay.ask("penalties", lift="2001:db8::/64")
    assert answer["lifted"] == 1
    assert [row["source"] for row in answer["penalties"]] == ["192.0.2.1"]
    assert relay.ask("penalties", lift="all")["penalties"] == []


def test_a_new_configuration_takes_effect_and_tells_what_waits_for_a_restart(relay: Relay) -> None:
    seen: list[Config] = []
    relay.service.on_config = seen.append
    relay.next = relay.service.config.replace(
        listen=("tcp:4000",),
        limits=Limits(unauthenticated=2),
        lifetimes=Lifetimes(ticket=0),
        handshake=Handshake(groups=("x25519",)),
    )
    assert relay.ask("reload") == {"ok": True, "restart": ["listen"]}
    assert relay.service.config.listen == ("tcp:3000",)
    assert relay.service.gate.limits.unauthenticated == 2
    assert relay.service.running.handshake.groups == ("x25519",)
    assert relay.service.running.handshake.tickets == 0
    assert seen == [relay.service.config]


def test_a_wrong_configuration_changes_nothing(relay: Relay) -> None:
    before = relay.service.config
    relay.next = ConfigError("relay.toml:3: limits: wrong")
    answer = relay.ask("reload")
    assert answer == {"ok": False, "code": "refused", "message": "relay.toml:3: limits: wrong"}
    assert relay.service.config is before


def test_the_relay_renews_its_certificate_while_it_runs(tmp_path: Path) -> None:
    relay = Relay(tmp_path, certificates=Certificates(relay_days=90)).start()
    first = relay.service.running.handshake
    relay.reactor.pump([DAY] * 59)
    assert relay.service.running.handshake.certificate == first.certificate
    relay.reactor.pump([DAY] * 3)
    second = relay.service.running.handshake
    assert second.certificate != first.certificate
    assert second.knocks is first.knocks, "a knock that was heard stays heard"
    assert "info certificate.renewed" in relay.recorded.lines


def test_expired_things_are_forgotten_every_minute(relay: Relay) -> None:
    relay.ask("invite", name="alice", expires=60)
    relay.reactor.pump([3600] * 24 * 32)
    assert relay.ask("invitations")["invitations"] == []


def test_a_head_of_the_key_log_is_signed_at_the_start_and_after_every_change(relay: Relay) -> None:
    log = relay.service.running.keylog
    assert keylog.read_head(log.head).size == 0
    relay.enrol("alice")
    assert relay.ask("revoke", name="alice")["ok"] is True
    relay.work()
    head = keylog.read_head(log.head)
    assert (head.size, head.relay_id) == (2, relay.service.relay_id)
    assert head.signed_by(relay.service.folder.key.public_key())


def test_a_head_that_could_not_be_signed_is_made_good_within_a_minute(relay: Relay) -> None:
    relay.enrol("alice")
    relay.reactor.pump([30, 30])
    relay.work()
    assert keylog.read_head(relay.service.running.keylog.head).size == 1


def test_a_backup_goes_where_the_administrator_says(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert relay.ask("backup", path="copy")["message"] == "path must begin with a slash"
    refused = relay.ask("backup", path=str(tmp_path / "copy"))
    assert (refused["code"], "no backup" in refused["message"]) == ("refused", True)

    def backup(target: Path) -> Deferred[None]:
        target.write_text("all")
        return succeed(None)

    monkeypatch.setattr(relay.store, "backup", backup)
    path = str(tmp_path / "copy")
    assert relay.ask("backup", path=path) == {"ok": True, "path": path, "size": 3}
    assert relay.recorded.lines[-1] == f"info backup.written path={path}"


def test_what_fails_now_and_then_is_told_and_tried_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(now: int) -> None:
        raise RuntimeError("disk")

    monkeypatch.setattr(relay.store, "tidy", fail)
    relay.reactor.pump([60, 60])
    failed = [line for line in relay.recorded.lines if line.startswith("error recurring.failed")]
    assert len(failed) == 2


def test_tls_endpoints_get_a_certificate_of_the_relays_authority(tmp_path: Path) -> None:
    relay = Relay(tmp_path, tls=Tls(listen=("tcp:3001",)), advertise="Relay.example:3000").start()
    options = relay.certificate.options
    assert options is not None
    own = cast(Any, options.certificate)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example", "localhost"]
    own.verify_directly_issued_by(
        x509.load_der_x509_certificate(relay.service.folder.authority.certificate)
    )
    assert relay.certificate.serverConnectionForTLS(None) is not None  # type: ignore[arg-type]
    relay.reactor.advance(DAY)
    assert relay.threads.work == [], "it is not due"
    relay.reactor.pump([DAY] * 60)
    relay.threads.do_one()
    assert relay.certificate.options is not options


def test_a_host_is_named_once() -> None:
    config = Config(advertise="[::1]:3000", tls=Tls(names=("localhost", "a.example")))
    assert hosts(config) == ("::1", "localhost", "a.example", "127.0.0.1")


def test_a_stopped_relay_has_let_go_of_everything(relay: Relay) -> None:
    relay.run(relay.service.stop())
    assert relay.store.is_open is False
    assert relay.reactor.getDelayedCalls() == []
    assert relay.recorded.lines[-1] == "info relay.stopped"
    with pytest.raises(LocalError, match="not running"):
        _ = relay.service.running


def test_tickets_of_the_last_moment_reach_the_disk_before_it_is_let_go(relay: Relay) -> None:
    relay.service.running.tickets.put([ticket("alice")])
    relay.run(relay.service.stop())
    assert relay.reactor.getDelayedCalls() == []
    assert list(relay.store._tickets.values()) == [ticket("alice")]


def test_a_relay_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.run(relay.service.stop())
    assert relay.recorded.lines == ["info relay.stopped"]


def test_sessions_that_do_not_end_are_cut_in_time(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    never: Deferred[None] = Deferred()
    monkeypatch.setattr(type(relay.service.running.router), "drain", lambda self: _wait(never))
    stopped = Deferred.fromCoroutine(relay.service.stop())
    relay.reactor.advance(9.9)
    assert not stopped.called
    relay.reactor.advance(0.2)
    assert stopped.called
    assert "warn relay.cut sessions=0" in relay.recorded.lines


async def _wait(deferred: Deferred[None]) -> None:
    await deferred


def test_a_database_that_cannot_be_used_fails_the_start(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.store.open = lambda: fail(StorageError("damaged"))  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="damaged"):
        relay.start()
    relay.run(relay.service.stop())
