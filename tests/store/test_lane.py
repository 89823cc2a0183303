"""Lanes: in order, in groups, and to the end."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from securerelay.store.lane import InlineLane, ThreadLane
from securerelay.store.rows import Accepted
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import NOW, STREAM, WRAP_KEY, message


def test_a_thread_does_everything_in_order_and_then_ends():
    done: list[int] = []
    threads: set[int] = set()
    ended = threading.Event()

    def work(group: list[int]) -> None:
        done.extend(group)
        threads.add(threading.get_ident())

    lane = ThreadLane(work, "test")
    for number in range(10_000):
        lane.put(number)
    lane.end(ended.set)
    assert ended.wait(30)
    assert done == list(range(10_000))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_comes_while_a_thread_works_is_its_next_group():
    groups: list[list[int]] = []
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work(group: list[int]) -> None:
        begun.set()
        assert go.wait(30)
        groups.append(group)

    lane = ThreadLane(work, "test")
    lane.put(1)
    assert begun.wait(30)
    for number in (2, 3, 4):
        lane.put(number)
    go.set()
    lane.end(ended.set)
    assert ended.wait(30)
    assert groups == [[1], [2, 3, 4]]


def test_an_inline_lane_holds_when_told_to():
    groups: list[list[int]] = []
    lane = InlineLane(groups.append)
    lane.put(1)
    lane.held = True
    lane.put(2)
    lane.put(3)
    assert groups == [[1]]
    lane.release()
    lane.put(4)
    assert groups == [[1], [2, 3], [4]]


class Pump:
    """Stands in for a reactor: runs in the test's thread what other threads hand over."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue = queue.SimpleQueue()

    def call(self, function, *args) -> None:
        self.calls.put((function, args))

    def until(self, answer):
        while not answer.called:
            function, args = self.calls.get(timeout=30)
            function(*args)
        return answer.result


def test_a_store_with_real_threads_answers_only_in_the_reactors_thread(tmp_path: Path):
    pump = Pump()
    store = SqliteStore(tmp_path, WRAP_KEY, pump.call)
    epoch = pump.until(store.open()).epoch
    pump.until(store.stream_open("alice", STREAM, 0, NOW))
    here = threading.get_ident()
    answered_in = set()
    answers = [store.append([message(seq, ("bob", (epoch << 32) + seq))]) for seq in range(1, 501)]
    for answer in answers:
        answer.addCallback(lambda verdicts: answered_in.add(threading.get_ident()) or verdicts)
    assert [pump.until(answer) for answer in answers] == [[Accepted()]] * 500
    assert answered_in == {here}
    assert len(pump.until(store.fetch("bob", 0, 1000, 1 << 20))) == 500
    pump.until(store.close())
