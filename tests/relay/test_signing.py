"""The threads that sign: bounded, charged, and answering in the reactor."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from twisted.internet.task import Clock

from securerelay.errors import RemoteError
from securerelay.relay.limits import CpuShare
from securerelay.relay.signing import SigningPool, Threads
from tests.relay.in_memory import Patient


def pool(threads: Patient, cpu: CpuShare | None = None) -> SigningPool:
    return SigningPool(threads, 1, 2, cpu, threads)  # type: ignore[arg-type]


def test_the_answer_is_what_the_function_returns() -> None:
    threads = Patient()
    answer = pool(threads).run(lambda a, b: a + b, 1, 2)
    assert not answer.called
    threads.do_one()
    assert answer.result == 3


def test_a_failure_is_the_answer_too() -> None:
    threads = Patient()
    answers: list[Any] = []
    pool(threads).run(lambda: [][0]).addErrback(answers.append)
    threads.do_one()
    assert answers[0].check(IndexError)


def test_more_than_the_queue_holds_is_refused_as_busy() -> None:
    threads = Patient()
    signing = pool(threads)
    for _ in range(3):
        signing.run(lambda: None)
    refusals: list[Any] = []
    signing.run(lambda: None).addErrback(refusals.append)
    assert refusals[0].check(RemoteError)
    assert refusals[0].value.code == "busy"
    threads.do_one()
    signing.run(lambda: None).addErrback(refusals.append)
    assert len(refusals) == 1
    assert signing.pending == 3


def test_the_threads_time_is_charged_to_the_handshakes_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, now = Clock(), [0.0]
    monkeypatch.setattr("time.thread_time", lambda: now[0])
    share = CpuShare(40, clock.seconds)
    threads = Patient()
    signing = pool(threads, share)

    def work() -> None:
        now[0] += 0.6

    signing.run(work)
    threads.do_one()
    assert share.wait() == pytest.approx(0.5)


def test_threads_finish_what_they_were_given_before_they_end() -> None:
    threads, begun, go = Threads(2), threading.Barrier(3), threading.Event()
    done: list[int] = []

    def held() -> None:
        begun.wait(30)
        go.wait(30)

    threads.start()
    threads.put(held)
    threads.put(held)
    begun.wait(30)  # so both work at the same time
    for number in range(10):
        threads.put(partial(done.append, number))
    go.set()
    threads.stop()
    assert sorted(done) == list(range(10))


def test_threads_that_never_began_can_be_stopped() -> None:
    Threads(2).stop()
