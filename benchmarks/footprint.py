"""Memory and idle processor time of each process of the stack, with many accounts watched.

Each account has one guard. First none has a position, so that there is nothing to lose; then each has
one, to be read every 4 s. The price stands still. The paper exchange has no limits, ours towards it are
the usual ones. Floor: the bare interpreter with Django set up.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil
import redis

from benchmarks import report
from benchmarks.paper import Paper, paper
from benchmarks.report import Aim
from exchange.auth import Credentials
from exchange.config import PRIVATE_RATE, PUBLIC_RATE, USUAL_CAPS
from exchange.formulas import Side
from exchange.money import Usd
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.trade import NewTrade
from hubdefisats.stack.assembly import Stack, running
from hubdefisats.stack.options import Options
from hubdefisats.stack.readiness import wait_until_ready
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

MOST_MB: Final = {"worker": 130, "stream": 150}
MOST_IDLE_PERCENT: Final = 5
SETTLED_WITHIN_S: Final = 180.0
REST_S: Final = 10.0
"""From the last session going live to the first look, for what a start leaves behind."""
Used = Mapping[str, Mapping[str, float]]
"""By the name of the process."""
_MB: Final = 1e6
_BARE: Final = "import django; django.setup(); print(flush=True); input()"


@contextmanager
def stack_on(exchange: Paper) -> Iterator[Stack]:
    """Run the stack as `make run` does, in a folder of its own, on this exchange."""
    with TemporaryDirectory(prefix="hubdefisats-bench-") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "HUBDEFISATS_DATA": folder,
            "LN_MARKETS_NETWORK": "paper",
            "LN_MARKETS_API_URL": exchange.endpoints.api_url,
            "LN_MARKETS_STREAM_URL": exchange.endpoints.stream_url,
            # So that all sockets are in use soon; afterwards nobody signs in.
            "STREAM_AUTHENTICATIONS_PER_MINUTE": "10000",
            "LOG_LEVEL": "WARNING",
        }
        terminal, stop = Terminal(sys.stderr), StopRequest()
        with running(Options(command="run", web_port=0, flower_port=0), terminal, stop) as stack:
            wait_until_ready(stack, terminal, stop, within_s=SETTLED_WITHIN_S)
            yield stack


def open_positions(exchange: Paper) -> None:
    """Open one position on each account."""
    fast = LocalLimiter(
        {
            scope: replace(rate, per_s=1e6)
            for scope, rate in ((Scope.PUBLIC, PUBLIC_RATE), (Scope.PRIVATE, PRIVATE_RATE))
        }
    )
    order = NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000))

    def opened(credentials: Credentials) -> None:
        client = RestClient(exchange.endpoints, credentials, limiter=fast)
        client.open_trade(order)
        client.close_connections()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(opened, exchange.accounts))


def guard_all(exchange: Paper) -> None:
    """Give every account of the exchange to one owner, each with a guard."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django is ready only now
    from django.db import connection, transaction  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from accounts.models import Account  # noqa: PLC0415
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415

    with transaction.atomic():
        owner = User.objects.create(username="owner")
        for number, credentials in enumerate(exchange.accounts):
            account = Account(owner=owner, name=f"account {number}", network="paper")
            account.set_credentials(credentials)
            account.verified_at = timezone.now()
            account.save()
            guard = MarginGuard.objects.create(
                enabled=True, account=account, name="guard", metric="margin_used"
            )
            guard.steps.create(
                threshold_percent=Decimal(50), does=GuardStep.Does.ADD_FIXED, amount_sats=1000
            )
    connection.close()


def seconds_until(stack: Stack, settled: Callable[[Mapping[str, Any]], bool]) -> float:
    """Return how many seconds it took until what the stream process sees of the market is that."""
    from django.conf import settings  # noqa: PLC0415

    from automations.streaming import HEARTBEAT_KEY  # noqa: PLC0415 - Django is ready only now

    started_s = time.monotonic()
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        while time.monotonic() - started_s < SETTLED_WITHIN_S:
            stack.tend()
            seen = json.loads(client.get(HEARTBEAT_KEY) or "{}").get("markets", {}).get("paper")
            if seen and settled(seen):
                return round(time.monotonic() - started_s, 1)
            time.sleep(0.2)
    raise TimeoutError("the accounts were not all watched in time")


def watched(exchange: Paper, stack: Stack, seconds: float) -> dict[str, Any]:
    """Return what all processes take with guards alone, and with a position for each of them."""
    accounts = len(exchange.accounts)
    sockets = min(accounts, USUAL_CAPS.private_sockets)
    guard_all(exchange)
    all_watched_s = seconds_until(
        stack,
        lambda seen: seen["pool"]["members"] == accounts and seen["pool"]["live"] == sockets,
    )
    time.sleep(REST_S)
    without = used(stack.supervisor.pids(), seconds)
    open_positions(exchange)
    all_armed_s = seconds_until(stack, lambda seen: seen["armed"] == accounts)
    time.sleep(REST_S)
    return {
        "all_watched_s": all_watched_s,
        "without_positions": without,
        "all_armed_s": all_armed_s,
        "with_positions": used(stack.supervisor.pids(), seconds),
    }


def used(pids: Mapping[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Return what each process and its children took over so many seconds."""
    families = {
        name: [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for name, pid in pids.items()
    }
    before = {name: _worked_s(family) for name, family in families.items()}
    started_s = time.monotonic()
    time.sleep(seconds)
    lasted_s = time.monotonic() - started_s
    return {
        name: {"processes": len(family)}
        | _memory_mb(family)
        | {"cpu_percent": round(100 * (_worked_s(family) - before[name]) / lasted_s, 2)}
        for name, family in families.items()
    }


def _worked_s(family: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in family)


def _memory_mb(family: list[psutil.Process]) -> dict[str, float]:
    each = [process.memory_full_info() for process in family]
    sums = {kind: sum(getattr(info, kind) for info in each) for kind in ("rss", "pss", "uss")}
    return {f"{kind}_mb": round(total / _MB, 1) for kind, total in sums.items()}


def bare() -> dict[str, float]:
    """Return what an interpreter takes that has done nothing but set Django up."""
    variables = os.environ | {"DJANGO_SETTINGS_MODULE": "hubdefisats.settings"}
    command = [sys.executable, "-c", _BARE]
    with subprocess.Popen(  # noqa: S603 - our own
        command, cwd=report.ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            return used({"bare": process.pid}, 2)["bare"]
        finally:
            process.terminate()


def aims(without: Used, held: Used) -> dict[str, Aim]:
    memory = {
        f"{name}_rss_mb": Aim(measured=held[name]["rss_mb"], at_most=most)
        for name, most in MOST_MB.items()
    }
    idle = {
        f"{name}_cpu_percent_{case}": Aim(measured=each["cpu_percent"], at_most=MOST_IDLE_PERCENT)
        for case, found in (("without_positions", without), ("with_positions", held))
        for name, each in found.items()
    }
    return memory | idle


def options(arguments: list[str]) -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=1000, help="with a guard each")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="looked at, twice; guards are swept every 30"
    )
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options(sys.argv[1:])
    venue = ("--accounts", str(chosen.accounts), "--prices", "manual", "--limits", "off")
    with paper(*venue) as exchange, stack_on(exchange) as stack:
        found = watched(exchange, stack, chosen.seconds)
        floor = bare()
    figures = {"accounts": chosen.accounts, "looked_at_s": chosen.seconds} | found
    report.publish(
        report.Report(
            benchmark="footprint",
            figures=figures,
            floor=floor,
            aims=aims(found["without_positions"], found["with_positions"]),
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
