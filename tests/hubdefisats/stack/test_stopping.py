"""Being asked to stop: noted at once, obeyed where it is safe."""

import signal
import subprocess
import sys

import pytest

_AS_FROM_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""Whoever started these tests may ignore the two, as a shell does for what runs in the background."""
_WAITS = """
import sys, time
from hubdefisats.stack.stopping import StoppedError, StopRequest
stop = StopRequest()
stop.listen()
print("listening", flush=True)
try:
    stop.pause(0.3 if "shortly" in sys.argv else 60)
    print("waited")
except StoppedError:
    print("stopped")
"""


def _start(*words: str, ignoring: str = "") -> subprocess.Popen[str]:
    setup = _AS_FROM_A_TERMINAL
    if ignoring:
        setup += f"signal.signal(signal.{ignoring}, signal.SIG_IGN)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", setup + _WAITS, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "listening\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_way_of_asking_ends_the_wait(number: signal.Signals) -> None:
    process = _start()

    process.send_signal(number)

    assert process.communicate(timeout=20)[0] == "stopped\n"
    assert process.returncode == 0


def test_what_the_starter_ignores_stays_ignored() -> None:
    process = _start("shortly", ignoring="SIGHUP")

    process.send_signal(signal.SIGHUP)

    assert process.communicate(timeout=20)[0] == "waited\n"
