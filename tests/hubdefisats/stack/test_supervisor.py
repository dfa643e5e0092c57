"""Processes are started, started again, and stopped with nothing left behind."""

import io
import os
import signal
import sys
from collections.abc import Callable

import psutil
import pytest

from hubdefisats import folder as folders
from hubdefisats.stack.processes import Process, Program
from hubdefisats.stack.supervisor import Supervisor
from hubdefisats.stack.terminal import Terminal
from tests.waiting import wait_until

_SLEEPS = "import time; time.sleep(60)"
_STUBBORN = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; {_SLEEPS}"])
print("child", child.pid, flush=True)
time.sleep(60)
"""


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _python(name: str, code: str) -> Program:
    return Program(name=name, command=(sys.executable, "-c", code), variables={"GREETING": "hello"})


def _said(out: io.StringIO, text: str) -> Callable[[], bool]:
    return lambda: text in out.getvalue()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def test_lines_carry_the_name_of_who_says_them(out: io.StringIO) -> None:
    code = "import os, sys; print(os.environ['GREETING']); print(); print('oh', file=sys.stderr)"
    process = Process(_python("web", code), Terminal(out))

    assert process.end_within(5)
    assert sorted(out.getvalue().splitlines()) == ["web      | hello", "web      | oh"]
    assert process.ending() == "ended with status 0"


def test_a_killed_process_starts_again_after_longer_and_longer_waits(out: io.StringIO) -> None:
    clock = _Clock()
    supervisor = Supervisor([_python("web", _SLEEPS)], Terminal(out), clock=clock)
    supervisor.start()
    try:
        for wait_s in (1, 2, 4, 8, 16, 30, 30):
            _kill_and_notice(supervisor)
            clock.now_s += wait_s - 0.01
            supervisor.tend()
            assert supervisor.pids() == {}
            clock.now_s += 0.01
            supervisor.tend()
            assert supervisor.pids()
            assert f"web was killed by SIGKILL; it starts again in {wait_s} s" in out.getvalue()

        clock.now_s += 30  # it ran well for a while
        _kill_and_notice(supervisor)
        assert out.getvalue().splitlines()[-1].endswith("it starts again in 1 s")
    finally:
        supervisor.stop()


def _kill_and_notice(supervisor: Supervisor) -> None:
    os.kill(supervisor.pids()["web"], signal.SIGKILL)

    def noticed() -> bool:
        supervisor.tend()
        return not supervisor.pids()

    wait_until(noticed, what="the end is noticed")


def test_stopping_kills_what_does_not_listen_with_all_that_it_started(out: io.StringIO) -> None:
    programs = [_python("stubborn", _STUBBORN), _python("web", _SLEEPS)]
    supervisor = Supervisor(programs, Terminal(out))
    supervisor.start()
    wait_until(_said(out, "child "), what="the child is started")
    pids = [*supervisor.pids().values(), int(out.getvalue().split()[-1])]
    processes = [psutil.Process(pid) for pid in pids]

    supervisor.stop(within_s=0.3)

    wait_until(lambda: not any(map(folders.is_alive, processes)), what="all are gone")
    assert "stubborn did not stop in time: killed" in out.getvalue()
    assert "web did not stop" not in out.getvalue()


def test_what_a_crashed_process_had_started_ends_with_it(out: io.StringIO) -> None:
    supervisor = Supervisor([_python("web", _STUBBORN)], Terminal(out))
    supervisor.start()
    try:
        wait_until(_said(out, "child "), what="the child is started")
        child = psutil.Process(int(out.getvalue().split()[-1]))

        _kill_and_notice(supervisor)

        wait_until(lambda: not folders.is_alive(child), what="the child is gone")
    finally:
        supervisor.stop()
