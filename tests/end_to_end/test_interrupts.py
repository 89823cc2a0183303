"""A command that is interrupted before it has got anywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from securerelay.cli.exits import Interrupted
from securerelay.cli.run import run

def interrupt():
    os.kill(os.getpid(), {number})

async def work(reactor):
    if {starting}:
        interrupt()  # as while a key is opened, which takes its time
    try:
        await Deferred()
    finally:
        print("ended in order")

if not {starting}:
    reactor.callWhenRunning(interrupt)
try:
    run(work)
except Interrupted as error:
    print(error.status)
"""


@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("number", [1, 2])
def test_a_signal_while_a_command_starts_ends_it_in_order(number: int, starting: bool):
    program = PROGRAM.format(number=number, starting=starting)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == (f"ended in order\n{128 + number}\n", "")
