"""Waiting for something to become true, with an end to the patience."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_until(condition: Callable[[], Answer], *, within_s: float = 20, what: str) -> Answer:
    """Return the condition's first true answer; fail with `what` after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.01)
    return answer
