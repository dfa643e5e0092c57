"""Many accounts through few private sockets: until all are read and live, a reconnect storm, memory.

The paper exchange keeps the real limits; a cap that is broken shows in `refusals`. Every second account
holds a position; positions are at their oldest anywhere between the first reading and the end, storm
included. Floor: what the cap of 20 authentications a minute allows at best. 200 accounts and 31 sockets
take about four minutes.
"""

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any, Final

import psutil

from benchmarks import report
from benchmarks.report import Aim
from exchange.auth import Credentials
from exchange.config import PRIVATE_RATE, PUBLIC_RATE, USUAL_CAPS, USUAL_PACE, Endpoints
from exchange.formulas import Side
from exchange.money import Usd
from exchange.pool import Member, SessionPool
from exchange.position import PositionsSnapshot
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Limits
from exchange.trade import NewTrade

PATIENCE_S: Final = 300.0
STEADY_S: Final = 20.0
OLDEST: Final = ("oldest_positions_s", "oldest_without_positions_s")
_MIB: Final = 2**20


def serve(commands: Connection, accounts: int, latency_ms: int) -> None:
    """Be the exchange, in a process of its own; cut all streams when told, until told to stop."""
    limits = Limits()
    with Simulator(
        accounts=accounts, prices="synthetic", limits=limits, latency_ms=latency_ms
    ) as venue:
        keys = [each.credentials for each in venue.accounts]
        commands.send((venue.rest, venue.stream, keys))
        while commands.recv() == "cut":
            venue.cut_streams()


class Log:
    """What the pool told."""

    def __init__(self) -> None:
        self.last_read_s: dict[int, float] = {}
        self.holds: dict[int, bool] = {}
        self.oldest_s: dict[bool, float] = {}
        """The longest time between two readings or confirmations, by whether there are positions."""
        self.fallbacks = 0
        self.recoveries = 0

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        self.holds[account_id] = bool(snapshot.positions)
        self.weigh(account_id, time.monotonic())
        self.last_read_s[account_id] = time.monotonic()

    def weigh(self, account_id: int, now_s: float) -> None:
        holds, old_s = self.holds[account_id], now_s - self.last_read_s.get(account_id, now_s)
        self.oldest_s[holds] = max(self.oldest_s.get(holds, 0.0), old_s)

    def refused(self, account_id: int, credentials: Credentials, why: str) -> None:  # noqa: ARG002 - as the pool tells
        raise AssertionError(f"account {account_id} refused: {why}")

    def fallback_activated(self, account_id: int, why: str) -> None:  # noqa: ARG002 - told
        self.fallbacks += 1

    def stream_recovered(self, account_id: int) -> None:  # noqa: ARG002 - told
        self.recoveries += 1


class Refusals(logging.Handler):
    """Counts what the exchange refused because we asked too much."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        why = str(getattr(record, "why", "")).lower()
        self.count += "too many" in why or "1008" in why


@contextmanager
def exchange(
    accounts: int, *, latency_ms: int
) -> Iterator[tuple[Endpoints, list[Credentials], Callable[[], None]]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, accounts, latency_ms))
    process.start()
    rest, stream, keys = ours.recv()
    endpoints = Endpoints(api_url=rest.removesuffix("/v3"), stream_url=stream.removesuffix("/v1"))
    try:
        yield endpoints, keys, lambda: ours.send("cut")
    finally:
        ours.send("stop")
        process.join(10)


def clients_of(
    endpoints: Endpoints, keys: list[Credentials], server_clock: ServerClock
) -> list[RestClient]:
    limiter = LocalLimiter({Scope.PUBLIC: PUBLIC_RATE, Scope.PRIVATE: PRIVATE_RATE})
    return [
        RestClient(endpoints, credentials, limiter=limiter, server_clock=server_clock)
        for credentials in keys
    ]


def open_positions(clients: list[RestClient]) -> None:
    """Open one position on every second account, so small that no price of the run ends it."""
    order = NewTrade(side=Side.BUY, leverage=Decimal(1), quantity=Usd(100))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda client: client.open_trade(order), clients[::2]))


def pool_of(endpoints: Endpoints, keys: list[Credentials], log: Log, *, sockets: int) -> SessionPool:
    caps = replace(USUAL_CAPS, sockets=USUAL_CAPS.public_sockets + sockets)
    server_clock = ServerClock()
    pool = SessionPool(endpoints, log, caps=caps, server_clock=server_clock)
    clients = clients_of(endpoints, keys, server_clock)
    open_positions(clients)
    for number, (credentials, rest) in enumerate(zip(keys, clients, strict=True)):
        pool.follow(Member(account_id=number, name="", credentials=credentials, read=rest.positions))
    return pool


def seconds_until(condition: Callable[[], bool]) -> float:
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > PATIENCE_S:
            raise TimeoutError("not settled in time")
        time.sleep(0.05)
    return round(time.monotonic() - started_s, 2)


def measured(
    endpoints: Endpoints, keys: list[Credentials], cut: Callable[[], None], *, sockets: int
) -> dict[str, Any]:
    refusals, log, process = Refusals(), Log(), psutil.Process()
    for name in ("exchange.pool", "exchange.transport"):
        logging.getLogger(name).addHandler(refusals)
        logging.getLogger(name).setLevel(logging.INFO)
    before = process.memory_info().rss
    pool = pool_of(endpoints, keys, log, sockets=sockets)
    pool.start()
    all_read_s = seconds_until(lambda: len(log.last_read_s) == len(keys))
    log.oldest_s.clear()
    all_live_s = seconds_until(lambda: pool.counts().live == sockets)
    cpu_before = process.cpu_times()
    time.sleep(STEADY_S)
    cpu_after = process.cpu_times()
    cut()
    seconds_until(lambda: pool.counts().live == 0)
    storm_s = seconds_until(lambda: pool.counts().live == sockets)
    counts = pool.counts()
    pool.stop()
    for account_id in range(len(keys)):  # one that is read no more tells nothing by itself
        log.weigh(account_id, time.monotonic())
    return {
        "accounts": counts.members,
        "sockets": counts.sockets,
        "all_read_s": all_read_s,
        "all_live_s": round(all_read_s + all_live_s, 2),
        "storm_settled_s": storm_s,
        "oldest_positions_s": round(log.oldest_s[True], 2),
        "oldest_without_positions_s": round(log.oldest_s[False], 2),
        "fallbacks": log.fallbacks,
        "recoveries": log.recoveries,
        "refusals": refusals.count,
        "memory_mib": round((process.memory_info().rss - before) / _MIB, 1),
        "cpu_share": round((sum(cpu_after[:2]) - sum(cpu_before[:2])) / STEADY_S, 3),
    }


def options(arguments: list[str]) -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    most = USUAL_CAPS.private_sockets
    parser.add_argument("--accounts", type=int, default=200, help="how many there are")
    parser.add_argument("--latency-ms", type=int, default=50, help="of the exchange's answers")
    parser.add_argument("--sockets", type=int, default=most, choices=range(1, most + 1), metavar="N")
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options(sys.argv[1:])
    with exchange(chosen.accounts, latency_ms=chosen.latency_ms) as (endpoints, keys, cut):
        found = measured(endpoints, keys, cut, sockets=chosen.sockets)
    minutes = (chosen.sockets - 1) // USUAL_CAPS.authentications_per_minute
    report.publish(
        report.Report(
            benchmark="pool",
            figures={"latency_ms": chosen.latency_ms} | found,
            floor={"all_live_s": 60.0 * minutes},
            aims={
                "refusals": Aim(measured=found["refusals"], at_most=0),
                **{name: Aim(measured=found[name], at_most=USUAL_PACE.stale_s) for name in OLDEST},
            },
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
