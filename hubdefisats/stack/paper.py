"""The paper exchange of a stack: its process, and what its first line says."""

import json
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from hubdefisats import folder as folders
from hubdefisats import local
from hubdefisats.refusals import RefusalError
from hubdefisats.stack.options import Options
from hubdefisats.stack.processes import Process, Program
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

ACCOUNTS: Final = 4
"""As many as the demo has."""
_STARTS_WITHIN_S: Final = 30.0
_STOPS_WITHIN_S: Final = 1.5


class PaperExchangeError(RefusalError):
    """It did not start, or it ended."""


@dataclass(frozen=True, slots=True)
class PaperExchange:
    """A running paper exchange. Its accounts live in its memory, and end with it."""

    process: Process
    first_line: str = field(repr=False)
    """JSON, as `python -m exchange.simulator` prints it; holds the keys of its accounts."""

    @property
    def announced(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.first_line)
        return found

    def settings(self) -> dict[str, str]:
        """Return the variables that send our processes there."""
        announced = self.announced
        return {
            "LN_MARKETS_NETWORK": "paper",
            "LN_MARKETS_API_URL": announced["rest"].removesuffix("/v3"),
            "LN_MARKETS_STREAM_URL": announced["stream"].removesuffix("/v1"),
        }

    def let_prices_run(self) -> float | None:
        """Let the prices run, which wait until then; return in how many seconds their fall is over.

        None where nobody knows.
        """
        answer = requests.post(f"{self.announced['control']}/prices", timeout=10)
        answer.raise_for_status()
        seconds: float | None = answer.json()["fallOverS"]
        return seconds

    def check(self) -> None:
        """Raise PaperExchangeError once it has ended."""
        if (ending := self.process.ending()) is not None:
            raise PaperExchangeError(f"The paper exchange {ending}, and its accounts are gone with it.")


@contextmanager
def paper_exchange(options: Options, terminal: Terminal, stop: StopRequest) -> Iterator[PaperExchange]:
    """Run the paper exchange on free ports.

    Raises:
        PaperExchangeError: it does not start.
        StoppedError: somebody asked to stop meanwhile.
    """
    process = Process(_program(options), terminal, own_output=True)
    try:
        first_line = _first_line(process, stop)
        process.relay(process.output)
        yield PaperExchange(process, first_line)
    finally:
        process.ask_to_end()
        process.end_within(_STOPS_WITHIN_S)


def _program(options: Options) -> Program:
    command = [sys.executable, "-m", "exchange.simulator", "--port", "0", "--control-port", "0"]
    # The demo is lost where the price falls before its guards are there: it waits for them.
    command += ["--accounts", str(ACCOUNTS), "--prices", options.prices, "--wait"]
    if options.speed is not None:
        command += ["--speed", options.speed]
    marks = folders.marked(local.data_folder())
    return Program(name="exchange", command=tuple(command), variables=marks)


def _first_line(process: Process, stop: StopRequest) -> str:
    end = time.monotonic() + _STARTS_WITHIN_S
    while not select.select([process.output], [], [], 0.1)[0]:
        stop.check()
        if time.monotonic() > end:
            raise PaperExchangeError("The paper exchange does not start.")
    line = process.output.readline().decode()
    if not line:
        process.hear_out()
        raise PaperExchangeError(f"The paper exchange does not start: {process.last_line}")
    return line
