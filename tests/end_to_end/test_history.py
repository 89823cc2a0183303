"""The judge of histories finds what is planted, and nothing in a clean one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.history import Event, Recorder, check, read, summary, tell

Histories = dict[str, list[Event]]
STREAM = "s" * 22


def event(kind: str, **what: Any) -> Event:
    return {"e": kind, "t": 0, **what}


def sent(seq: int, to: str = "bob", ttl: int | None = None) -> Event:
    return event("invoke", stream=STREAM, seq=seq, to=to, ttl=ttl, body=f"b{seq}")


def ok(seq: int) -> Event:
    return event("ok", stream=STREAM, seq=seq)


def no(seq: int, code: str = "unknown", final: bool = True) -> Event:
    return event("no", stream=STREAM, seq=seq, code=code, final=final)


def came(n: int, seq: int, listened: int = 1) -> Event:
    return {**event("msg", n=n, stream=STREAM, seq=seq, listened=listened), "from": "alice"}


def got(seq: int, to: str = "bob", sender: str = "alice") -> Event:
    return {**event("deliver", stream=STREAM, seq=seq, to=to, body=f"b{seq}"), "from": sender}


def opened(session: str, ticket: str = "", began: int = 0) -> Event:
    return event("opened", session=session, resumed=bool(ticket), ticket=ticket, began=began)


def enrolled(token: str, serial: str, key: str = "k") -> Event:
    return event("enrolled", token=token, name="carol", key=key, serial=serial)


CLEAN: Histories = {
    "alice": [
        opened("a"),
        event("tickets", ids=["t1", "t2"]),
        *(sent(seq) for seq in (1, 2, 3)),
        ok(1),
        event("end", code="truncated"),
        opened("b", ticket="t1"),
        ok(1),
        no(3, "gap", final=False),
        ok(2),
        ok(3),
        sent(4, to="nobody"),
        no(4),
        no(4),
        sent(5, ttl=0),
        ok(5),
        sent(6, ttl=1),
        ok(6),
        event("expired", stream=STREAM, seq=6, peer="bob"),
        sent(7, to="@all"),
        ok(7),
        event("got", stream=STREAM, seq=3, peer="bob"),
    ],
    "bob": [
        *(came(n, seq) for n, seq in ((10, 1), (11, 2), (12, 3))),
        *(got(seq) for seq in (1, 2, 3)),
        came(11, 2, 2),
        came(20, 3, 2),
        got(7, to="@all"),
    ],
    "carol": [
        got(7, to="@all"),
        enrolled("token", "serial"),
        enrolled("token", "serial"),
        opened("c", began=5),
    ],
    "mallory": [event("unenrolled", token="token", name="carol", key="other", code="token-used")],
    "admin": [
        event("room", name="@all", members=["alice", "bob", "carol"]),
        {**event("revoked", name="carol"), "t": 9},
    ],
}


def test_a_clean_history_passes() -> None:
    assert check(CLEAN) == []


def test_what_was_under_way_at_a_crash_may_have_been_delivered_before_it_was_refused() -> None:
    doubtful = {
        "alice": [opened("a"), sent(1), opened("b"), {**no(1, "offline"), "t": 2}],
        "bob": [{**got(1), "t": 1}],
    }
    assert check(doubtful) == []
    doubtful["bob"][0]["t"] = 3
    assert [violation.rule for violation in check(doubtful)] == ["phantom"]
    certain = {"alice": [opened("a"), sent(1), {**no(1, "offline"), "t": 2}], "bob": [got(1)]}
    assert [violation.rule for violation in check(certain)] == ["phantom"]


def without(client: str, index: int) -> Callable[[Histories], object]:
    return lambda run: run[client].pop(index)


def then(client: str, *events: Event) -> Callable[[Histories], object]:
    return lambda run: run[client].extend(events)


def swap(run: Histories) -> None:
    bob = run["bob"]
    bob[4], bob[5] = bob[5], bob[4]


def alter(run: Histories) -> None:
    run["bob"][4]["body"] = "x"


@pytest.mark.parametrize(
    ("rules", "plant"),
    [
        pytest.param({"loss", "receipt"}, without("bob", 5), id="a message is lost"),
        pytest.param({"loss"}, without("bob", 4), id="a message without receipt is lost"),
        pytest.param({"loss"}, without("carol", 0), id="a member of a room is left out"),
        pytest.param({"loss"}, then("alice", sent(8), ok(8)), id="OK without delivery"),
        pytest.param({"duplicate"}, then("bob", got(3)), id="a message is delivered twice"),
        pytest.param({"order"}, swap, id="two messages change places"),
        pytest.param(
            {"stranger"}, lambda run: run["carol"].insert(0, got(3)), id="another gets it too"
        ),
        pytest.param({"stranger"}, then("alice", got(7, "@all")), id="a room echoes"),
        pytest.param({"phantom"}, then("bob", got(9)), id="what nobody sent is delivered"),
        pytest.param(
            {"phantom"}, then("bob", got(3, sender="carol")), id="a message from another sender"
        ),
        pytest.param({"phantom"}, alter, id="a body is altered"),
        pytest.param(
            {"phantom", "stranger", "order"},
            then("bob", got(4, "nobody")),
            id="a refused one is delivered",
        ),
        pytest.param({"verdict", "phantom"}, then("alice", no(3)), id="accepted, then refused"),
        pytest.param({"verdict", "loss"}, then("alice", ok(4)), id="refused, then accepted"),
        pytest.param({"verdict"}, then("alice", no(4, "offline")), id="refused for two reasons"),
        pytest.param({"verdict"}, then("alice", ok(9)), id="a verdict for what was not sent"),
        pytest.param({"verdict"}, then("alice", sent(8)), id="no verdict at all"),
        pytest.param(
            {"verdict"}, then("alice", sent(8), no(8, "busy", False)), id="only a try-again verdict"
        ),
        pytest.param(
            {"receipt"},
            then("alice", event("got", stream=STREAM, seq=1, peer="carol")),
            id="a receipt of somebody who got nothing",
        ),
        pytest.param({"number"}, then("bob", came(10, 3, 3)), id="a number is used again"),
        pytest.param({"number"}, then("bob", came(10, 1, 2)), id="numbers fall"),
        pytest.param(
            {"ticket"}, then("bob", event("tickets", ids=["t2"])), id="a ticket is given twice"
        ),
        pytest.param({"ticket"}, then("alice", opened("d", "t1")), id="a ticket is taken twice"),
        pytest.param({"serial"}, then("bob", opened("a")), id="a session id is used again"),
        pytest.param({"serial"}, then("bob", enrolled("new", "serial")), id="a serial is reused"),
        pytest.param(
            {"enrolment"}, then("bob", enrolled("token", "other")), id="a token brings two"
        ),
        pytest.param(
            {"enrolment"}, then("bob", enrolled("token", "serial", "x")), id="two keys, one token"
        ),
        pytest.param(
            {"enrolment"},
            then("bob", event("unenrolled", token="n", name="n", key="k", code="expired")),
            id="a token is used up for nothing",
        ),
        pytest.param({"revival"}, then("carol", opened("d", began=10)), id="a revoked one is in"),
        pytest.param(
            {"end"}, then("bob", event("end", code="internal")), id="a session breaks by itself"
        ),
    ],
)
def test_what_is_planted_is_found(rules: set[str], plant: Callable[[Histories], object]) -> None:
    run = copy.deepcopy(CLEAN)
    plant(run)
    found = check(run)
    assert {violation.rule for violation in found} == rules, tell(found)


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    record = Recorder(tmp_path, "alice")
    record("invoke", stream=STREAM, seq=1, to="bob", ttl=None, body="b")
    record("ok", stream=STREAM, seq=1)
    record.close()
    found = read(tmp_path)
    assert summary(found) == {"invoke": 1, "ok": 1}
    assert [violation.rule for violation in check(found)] == ["loss"]
    assert "never came to bob" in tell(check(found))
