"""A platform of its own for a benchmark: real PostgreSQL, Redis, paper exchange and processes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import django
import psutil
import requests
from django.core.management import call_command
from redis import Redis

from benchmarks.paper import Paper, paper
from exchange.config import PRIVATE_RATE, PUBLIC_RATE, Rate
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.trade import NewTrade
from hubdefisats import embedded, local, surroundings
from hubdefisats import folder as folders
from hubdefisats.stack.processes import Program

if TYPE_CHECKING:
    from accounts.models import Account

ROOT: Final = Path(__file__).parents[1]
STOPS_WITHIN_S: Final = 20.0
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What runs, and how it is told and asked."""

    paper: Paper
    variables: Mapping[str, str]
    """With which a process of ours uses this platform."""
    log: Path
    processes: dict[str, int] = field(default_factory=dict)
    """By name, what runs beside this process."""

    @contextmanager
    def running(self, program: Program) -> Iterator[subprocess.Popen[bytes]]:
        """Run one long-lived process of ours; what it says goes to the log file."""
        with (
            self.log.open("ab") as said,
            subprocess.Popen(  # noqa: S603 - the project's own programs
                program.command,
                cwd=ROOT,
                env={**os.environ, **self.variables, **program.variables},
                stdout=said,
                stderr=said,
                start_new_session=True,
            ) as process,
        ):
            self.processes[program.name] = process.pid
            try:
                yield process
            finally:
                self.processes.pop(program.name, None)
                process.terminate()
                try:
                    process.wait(STOPS_WITHIN_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)

    def set_price(self, price: Decimal) -> None:
        self._post("price", {"price": float(price)})

    def ticks(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = requests.get(f"{self.paper.control}/ticks", timeout=30).json()
        return answer

    def writes(self) -> list[dict[str, Any]]:
        """Return every write that the paper exchange received."""
        ledger = requests.get(f"{self.paper.control}/ledger", timeout=30).json()
        found: list[dict[str, Any]] = ledger["writes"]
        return found

    def processor_s(self) -> dict[str, float]:
        """Return what each process has computed so far, with all that it started."""
        return {name: _computed_s(psutil.Process(pid)) for name, pid in self.processes.items()}

    def redis(self) -> Redis:
        return Redis.from_url(self.variables["REDIS_URL"])

    def _post(self, path: str, body: dict[str, Any]) -> None:
        requests.post(f"{self.paper.control}/{path}", json=body, timeout=30).raise_for_status()


@contextmanager
def platform(*exchange: str, **variables: str) -> Iterator[Platform]:
    """Start PostgreSQL (which waits for its disk, as always), Redis, and a paper exchange.

    Django is set up on them, so there can be one platform in a process.
    """
    surroundings.tidy()
    with ExitStack() as parts:
        folder = parts.enter_context(folders.temporary("hubdefisats-bench-"))
        kept = local.new_secrets()
        venue = parts.enter_context(paper("--prices", "manual", *exchange))
        found = {
            "HUBDEFISATS_DATA": str(folder),
            "DJANGO_SETTINGS_MODULE": "hubdefisats.settings",
            "SECRET_KEY": kept["SECRET_KEY"],
            "SEAL_PUBLIC_KEYS": kept["SEAL_PUBLIC_KEYS"],
            "SEAL_PRIVATE_KEYS": kept["SEAL_PRIVATE_KEYS"],
            "DATABASE_URL": parts.enter_context(embedded.postgres(folder / "postgres")),
            "REDIS_URL": parts.enter_context(
                embedded.redis_server(folder / "redis", kept["REDIS_PASSWORD"])
            ),
            "LN_MARKETS_NETWORK": "paper",
            "LN_MARKETS_API_URL": venue.endpoints.api_url,
            "LN_MARKETS_STREAM_URL": venue.endpoints.stream_url,
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
            **variables,
        }
        os.environ.update(found)
        django.setup()
        call_command("migrate", verbosity=0)
        from django.db import connections  # noqa: PLC0415 - Django is ready only now

        parts.callback(connections.close_all)
        running = Platform(paper=venue, variables=found, log=folder / "said.log")
        with running.redis() as client:
            running.processes["redis"] = client.info("server")["process_id"]
        running.processes["postgres"] = int((folder / "postgres/postmaster.pid").read_text().split()[0])
        running.processes["exchange"] = venue.process_id
        yield running


def accounts(running: Platform, count: int) -> list["Account"]:
    """Make an account of one owner for each of the exchange's first `count`."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django is ready only now
    from django.utils import timezone  # noqa: PLC0415

    from accounts.models import Account  # noqa: PLC0415

    owner, _ = User.objects.get_or_create(username="owner")
    made = []
    for number, credentials in enumerate(running.paper.accounts[:count]):
        account = Account(owner=owner, name=f"account {number}", network="paper")
        account.set_credentials(credentials)
        account.verified_at = timezone.now()
        account.commands_per_minute = 10_000
        made.append(account)
    return Account.objects.bulk_create(made)


def per_order_ms(
    before: Mapping[str, float], after: Mapping[str, float], orders: int
) -> dict[str, float]:
    """Return how long each process computed for one of so many orders, the longest first."""
    taken = {name: after[name] - before.get(name, 0.0) for name in after}
    longest_first = sorted(taken.items(), key=lambda each: -each[1])
    return {name: round(seconds * 1000 / orders, 2) for name, seconds in longest_first}


def _computed_s(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    # Those that ended meanwhile are counted by whoever started them.
    return sum(sum(each.cpu_times()[:4]) for each in family)


def unlimited() -> LocalLimiter:
    fast = 1e6
    rates: dict[Scope, Rate] = {
        Scope.PUBLIC: Rate(per_s=PUBLIC_RATE.per_s * fast),
        Scope.PRIVATE: Rate(per_s=PRIVATE_RATE.per_s * fast),
    }
    return LocalLimiter(rates)


def open_longs(running: Platform, *, accounts: int, each: int) -> list[list[Position]]:
    """Open that many longs of 1,000 USD at 10x on each of the first accounts."""

    def opened(number: int) -> list[Position]:
        client = RestClient(
            running.paper.endpoints, running.paper.accounts[number], limiter=unlimited()
        )
        order = NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000))
        trades = [client.open_trade(order) for _ in range(each)]
        client.close_connections()
        return [trade for trade in trades if isinstance(trade, Position)]

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(opened, range(accounts)))


def armed(running: Platform) -> int:
    """Return how many triggers the stream process has armed."""
    with running.redis() as redis:
        said = redis.get("hubdefisats:stream:heartbeat")
    seen = json.loads(said) if said else {"markets": {}}
    return sum(market["armed"] for market in seen["markets"].values() if market["state"] == "live")


def workers() -> int:
    """Return how many workers answer; one that has just been started takes messages only later."""
    from hubdefisats.celery import app  # noqa: PLC0415 - Django is ready only now

    return len(app.control.ping(timeout=1) or [])


def wait_for(condition: Callable[[], Answer], *, within_s: float, what: str) -> Answer:
    """Return the condition's first true answer.

    Raises:
        TimeoutError: there was none in time.
    """
    end = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)
    return answer
