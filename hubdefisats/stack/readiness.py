"""Whether a whole stack answers, and what it still waits for."""

import time
from math import inf
from typing import Final

import requests

from hubdefisats.stack.assembly import Stack, StackError
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

_PATIENCE_S: Final = 3.0


def wait_until_ready(
    stack: Stack, terminal: Terminal, stop: StopRequest, *, within_s: float = inf
) -> None:
    """Tend the stack until every part of it works; say what is missing whenever that changes.

    Raises:
        StackError: the time is up.
        PaperExchangeError, StoppedError: as `Stack.tend` and `StopRequest.check` do.
    """
    said: set[str] | None = None
    end = time.monotonic() + within_s
    while missing := waiting_for(stack):
        if missing != said:
            terminal.say("stack", f"waiting for {', '.join(sorted(missing))}")
            said = missing
        if time.monotonic() > end:
            raise StackError(f"The stack is not ready in time: {', '.join(sorted(missing))} missing.")
        stack.tend()
        stop.pause()


def waiting_for(stack: Stack) -> set[str]:
    """Return the parts that do not work yet."""
    missing = _unready_parts(f"{stack.web_url}/health/ready")
    if not _answers(f"{stack.flower_url}/healthcheck"):
        missing.add("flower")
    return missing


def _unready_parts(url: str) -> set[str]:
    try:
        said = requests.get(url, timeout=_PATIENCE_S).json()
        missing = {part for part, state in said["parts"].items() if state != "ready"}
    except (requests.RequestException, ValueError, KeyError):
        return {"web"}
    # A stream process that tells what it sees runs, also while the exchange is away.
    return missing - {"stream"} if "stream" in said else missing


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=_PATIENCE_S).ok
    except requests.RequestException:
        return False
