"""Whether a whole stack answers, what it still waits for, and why."""

import time
from collections.abc import Mapping
from math import inf
from typing import Final

import requests

from hubdefisats.stack.assembly import Stack, StackError
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

_PATIENCE_S: Final = 3.0
SAYS_WHY_AFTER_S: Final = 20.0
"""Then, and again after each such time, people are told why they wait."""


def wait_until_ready(
    stack: Stack, terminal: Terminal, stop: StopRequest, *, within_s: float = inf
) -> None:
    """Tend the stack until every part of it works; say what is missing whenever that changes.

    Raises:
        StackError: the time is up.
        PaperExchangeError, StoppedError: as `Stack.tend` and `StopRequest.check` do.
    """
    said: set[str] | None = None
    began = time.monotonic()
    end, say_why_at = began + within_s, began + SAYS_WHY_AFTER_S
    while missing := waiting_for(stack):
        now = time.monotonic()
        if now > end:
            raise StackError(f"The stack is not ready in time: {_in_words(missing)}.")
        if now > say_why_at:
            say_why_at = now + SAYS_WHY_AFTER_S
            terminal.say("stack", f"waiting for {now - began:.0f} s now: {_in_words(missing)}")
        elif set(missing) != said:
            terminal.say("stack", f"waiting for {', '.join(sorted(missing))}")
            said = set(missing)
        stack.tend()
        stop.pause()


def waiting_for(stack: Stack) -> Mapping[str, str]:
    """Return the parts that do not work yet, each with what it answers."""
    missing = _unready_parts(f"{stack.web_url}/health/ready")
    if (why := _trouble(f"{stack.flower_url}/healthcheck")) is not None:
        missing["flower"] = why
    return missing


def _unready_parts(url: str) -> dict[str, str]:
    try:
        said = requests.get(url, timeout=_PATIENCE_S).json()
        parts: dict[str, str] = said["parts"]
    except requests.JSONDecodeError:
        return {"web": f"{url} answers, but no JSON"}
    except (requests.RequestException, ValueError, KeyError) as error:
        return {"web": _no_answer(url, error)}
    missing = {part: state for part, state in parts.items() if state != "ready"}
    if "stream" in said:  # one that tells what it sees runs, also while the exchange is away
        missing.pop("stream", None)
    return missing


def _trouble(url: str) -> str | None:
    try:
        answer = requests.get(url, timeout=_PATIENCE_S)
    except requests.RequestException as error:
        return _no_answer(url, error)
    return None if answer.ok else f"{url} answers with status {answer.status_code}"


def _no_answer(url: str, error: Exception) -> str:
    return f"{url} does not answer ({type(error).__name__})"


def _in_words(missing: Mapping[str, str]) -> str:
    return "; ".join(f"{part}: {why}" for part, why in sorted(missing.items()))
