"""One run of a whole stack of its own: a position is saved, and one JSON line says how it went."""

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests
from django.core.management import call_command

from exchange.auth import Credentials
from exchange.config import Endpoints
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from hubdefisats.refusals import RefusalError
from hubdefisats.stack import report
from hubdefisats.stack.assembly import Stack, running
from hubdefisats.stack.options import Options
from hubdefisats.stack.paper import PaperExchange
from hubdefisats.stack.readiness import wait_until_ready
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

_OF_OTHERS: Final = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "CREDENTIAL_KEYS",
    "LN_MARKETS_NETWORK",
    "LN_MARKETS_API_URL",
    "LN_MARKETS_STREAM_URL",
)
"""A trial must never touch what these name."""


class SmokeError(RefusalError):
    """No position was saved, or not as promised."""


def smoke(options: Options, stop: StopRequest) -> None:
    """Print the JSON line once a position is saved; everything else goes to standard error.

    Raises:
        SmokeError: none was saved in time, or more was done than was meant to be.
    """
    started_at = time.monotonic()
    for name in _OF_OTHERS:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="hubdefisats-smoke-") as folder:
        os.environ["HUBDEFISATS_DATA"] = folder
        with running(options, Terminal(sys.stderr), stop) as stack:
            assert stack.paper
            ledger = _save(stack, stack.paper, options, stop, started_at)
            line = _line(ledger) | {
                "seconds": round(time.monotonic() - started_at, 1),
                "prices": Path(options.prices).name,
            }
    print(json.dumps(line), flush=True)  # noqa: T201 - it is what this command is for
    if line["duplicates"]:
        raise SmokeError(f"The exchange applied {line['duplicates']} effects twice.")


def _save(
    stack: Stack, paper: PaperExchange, options: Options, stop: StopRequest, started_at: float
) -> dict[str, Any]:
    """Wait until a position is saved; return the exchange's ledger of then."""
    clients = _clients(paper)
    before = _margins(clients)
    end = started_at + options.limit_s
    wait_until_ready(stack, Terminal(sys.stderr), stop, within_s=end - time.monotonic())
    # The exchange is asked only when there is something to see: its limits are the stack's too.
    while not report.is_saved(found := _executions(), before, _margins(clients) if found else {}):
        if time.monotonic() > end:
            raise SmokeError(f"No position was saved within {options.limit_s} s: {_states(found)}.")
        stack.tend()
        stop.pause(0.5)
    ledger: dict[str, Any] = requests.get(f"{paper.announced['control']}/ledger", timeout=10).json()
    return ledger | {"executions": found}


def _line(ledger: Mapping[str, Any]) -> dict[str, Any]:
    executions = ledger["executions"]
    try:
        took = report.tick_to_order_ms(executions, ledger)
    except ValueError as error:
        raise SmokeError(f"The records disagree: {error}.") from error
    return {
        "executions": len(executions),
        "confirmed": sum(execution["state"] == "confirmed" for execution in executions),
        "duplicates": report.duplicates(executions, ledger["writes"]),
        "tick_to_order_ms": took,
    }


def _executions() -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("executions", "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _clients(paper: PaperExchange) -> list[RestClient]:
    """Return a client for each account, to see at the exchange what our own records say."""
    settings = paper.settings()
    endpoints = Endpoints(
        api_url=settings["LN_MARKETS_API_URL"], stream_url=settings["LN_MARKETS_STREAM_URL"]
    )
    clock = ServerClock()  # of the exchange, so measured once for all
    return [
        RestClient(
            endpoints,
            Credentials(key=account["key"], secret=account["secret"], passphrase=account["passphrase"]),
            server_clock=clock,
        )
        for account in paper.announced["accounts"]
    ]


def _margins(clients: list[RestClient]) -> dict[str, int]:
    """Return the sats of margin of every position that runs at the exchange, by its id."""
    return {str(trade.id): int(trade.margin) for client in clients for trade in client.running_trades()}


def _states(executions: list[dict[str, Any]]) -> str:
    states = [execution["state"] for execution in executions]
    return (
        ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "no execution"
    )
