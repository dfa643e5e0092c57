"""One fall, lived through by a whole stack of its own; one JSON line says what became of whom."""

import io
import json
import os
import sys
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
from hubdefisats import folder as folders
from hubdefisats.refusals import RefusalError
from hubdefisats.stack import report
from hubdefisats.stack.assembly import Stack, running
from hubdefisats.stack.fates import Watched, fates, told, watch
from hubdefisats.stack.options import Options
from hubdefisats.stack.paper import PaperExchange
from hubdefisats.stack.readiness import wait_until_ready
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

OF_OTHERS: Final = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "CREDENTIAL_KEYS",
    "SEAL_PUBLIC_KEYS",
    "SEAL_PRIVATE_KEYS",
    "LN_MARKETS_NETWORK",
    "LN_MARKETS_API_URL",
    "LN_MARKETS_STREAM_URL",
)
"""A trial must never touch what these name."""


_ALL: Final = 1_000_000
_READY_WITHIN_S: Final = 120.0
_SETTLES_WITHIN_S: Final = 20.0
"""What was on its way when the fall was over has this long to come to an end."""


class SmokeError(RefusalError):
    """A guarded position was lost, or more was done than was meant to be."""


def smoke(options: Options, stop: StopRequest) -> None:
    """Live through a fall and print the JSON line; everything else goes to standard error.

    Raises:
        SmokeError: a guarded position was liquidated, or an effect was applied twice.
    """
    started_at = time.monotonic()
    for name in OF_OTHERS:
        os.environ.pop(name, None)
    with folders.temporary("hubdefisats-smoke-") as folder:
        os.environ["HUBDEFISATS_DATA"] = str(folder)
        with running(options, Terminal(sys.stderr), stop) as stack:
            assert stack.paper
            line = _live_through(stack, stack.paper, options, stop) | {
                "seconds": round(time.monotonic() - started_at, 1),
                "prices": Path(options.prices).name,
            }
    print(json.dumps(line), flush=True)  # noqa: T201 - it is what this command is for
    if line["duplicates"]:
        raise SmokeError(f"The exchange applied {line['duplicates']} effects twice.")
    if line["guarded_liquidated"]:
        raise SmokeError(
            f"{line['guarded_liquidated']} of {line['guarded']} guarded positions were liquidated."
        )


def _live_through(
    stack: Stack, paper: PaperExchange, options: Options, stop: StopRequest
) -> dict[str, Any]:
    """Let the prices run until the fall is over; return what it came to."""
    wait_until_ready(stack, Terminal(sys.stderr), stop, within_s=_READY_WITHIN_S)
    accounts = _accounts(paper)
    falls_s = paper.let_prices_run()
    lasts_s = options.seconds or falls_s
    assert lasts_s is not None, "made-up prices and those of a file end some time"
    _tend(stack, stop, until=time.monotonic() + lasts_s)
    _let_settle(stack, stop)
    ledger: dict[str, Any] = requests.get(f"{paper.announced['control']}/ledger", timeout=10).json()
    of_both = told(fates(accounts, guarded=True), fates(accounts, guarded=False))
    return {**_line(ledger | {"executions": _executions()}), **of_both, "told": _notifications()}


def _tend(stack: Stack, stop: StopRequest, *, until: float) -> None:
    while time.monotonic() < until:
        stack.tend()
        stop.pause(0.5)


def _let_settle(stack: Stack, stop: StopRequest) -> None:
    """Wait until nothing is on its way any more, but not for ever."""
    end = time.monotonic() + _SETTLES_WITHIN_S
    while any(each["state"] in report.UNSETTLED for each in _executions()) and time.monotonic() < end:
        _tend(stack, stop, until=time.monotonic() + 1)


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
    call_command("executions", "--json", last=_ALL, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _notifications() -> int:
    from automations.models import Notification  # noqa: PLC0415 - Django is ready only now

    return Notification.objects.count()


def _guarded_keys() -> set[str]:
    """Return the keys of the accounts whose positions are guarded."""
    from automations.models import MarginGuard  # noqa: PLC0415 - Django is ready only now

    return {guard.account.credentials().key for guard in MarginGuard.acting()}


def _accounts(paper: PaperExchange) -> list[Watched]:
    """Return the accounts with what runs there, as the exchange itself shows it."""
    settings = paper.settings()
    endpoints = Endpoints(
        api_url=settings["LN_MARKETS_API_URL"], stream_url=settings["LN_MARKETS_STREAM_URL"]
    )
    clock, guarded = ServerClock(), _guarded_keys()  # the clock is the exchange's: one for all
    found = []
    for account in paper.announced["accounts"]:
        credentials = Credentials(**{name: account[name] for name in ("key", "secret", "passphrase")})
        client = RestClient(endpoints, credentials, server_clock=clock)
        found.append(watch(client, guarded=credentials.key in guarded))
    return found
