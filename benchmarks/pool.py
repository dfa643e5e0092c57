"""Many accounts through few private sockets: until all are read and live, a reconnect storm, memory.

The paper exchange keeps the real limits; a cap that is broken shows in `refusals`. Floor: what the cap
of 20 authentications a minute allows at best. 200 accounts and 31 sockets take about four minutes.
"""

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final

import psutil

from benchmarks import report
from benchmarks.report import Aim
from exchange.auth import Credentials
from exchange.config import PRIVATE_RATE, PUBLIC_RATE, USUAL_CAPS, USUAL_PACE, Endpoints
from exchange.pool import Member, SessionPool
from exchange.position import PositionsSnapshot
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Limits

PATIENCE_S: Final = 300.0
STEADY_S: Final = 20.0
_MIB: Final = 2**20


def serve(commands: Connection, accounts: int) -> None:
    """Be the exchange, in a process of its own; cut all streams when told, until told to stop."""
    with Simulator(accounts=accounts, prices="synthetic", limits=Limits()) as venue:
        keys = [each.credentials for each in venue.accounts]
        commands.send((venue.rest, venue.stream, keys))
        while commands.recv() == "cut":
            venue.cut_streams()


class Log:
    """What the pool told."""

    def __init__(self) -> None:
        self.last_read_s: dict[int, float] = {}
        self.oldest_s = 0.0
        """The longest that an account went without a newer reading or confirmation."""
        self.fallbacks = 0
        self.recoveries = 0

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:  # noqa: ARG002 - told
        now_s = time.monotonic()
        self.oldest_s = max(self.oldest_s, now_s - self.last_read_s.get(account_id, now_s))
        self.last_read_s[account_id] = now_s

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
def exchange(accounts: int) -> Iterator[tuple[Endpoints, list[Credentials], Callable[[], None]]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, accounts))
    process.start()
    rest, stream, keys = ours.recv()
    endpoints = Endpoints(api_url=rest.removesuffix("/v3"), stream_url=stream.removesuffix("/v1"))
    try:
        yield endpoints, keys, lambda: ours.send("cut")
    finally:
        ours.send("stop")
        process.join(10)


def pool_of(endpoints: Endpoints, keys: list[Credentials], log: Log, *, sockets: int) -> SessionPool:
    limiter = LocalLimiter({Scope.PUBLIC: PUBLIC_RATE, Scope.PRIVATE: PRIVATE_RATE})
    server_clock = ServerClock()
    caps = replace(USUAL_CAPS, sockets=USUAL_CAPS.public_sockets + sockets)
    pool = SessionPool(endpoints, log, caps=caps, server_clock=server_clock)
    for number, credentials in enumerate(keys):
        rest = RestClient(endpoints, credentials, limiter=limiter, server_clock=server_clock)
        pool.follow(Member(account_id=number, credentials=credentials, read=rest.positions))
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
    log.oldest_s = 0.0
    all_live_s = seconds_until(lambda: pool.counts().live == sockets)
    cpu_before = process.cpu_times()
    time.sleep(STEADY_S)
    cpu_after = process.cpu_times()
    cut()
    seconds_until(lambda: pool.counts().live == 0)
    storm_s = seconds_until(lambda: pool.counts().live == sockets)
    counts = pool.counts()
    result = {
        "accounts": counts.members,
        "sockets": counts.sockets,
        "all_read_s": all_read_s,
        "all_live_s": round(all_read_s + all_live_s, 2),
        "storm_settled_s": storm_s,
        "oldest_positions_s": round(log.oldest_s, 2),
        "fallbacks": log.fallbacks,
        "recoveries": log.recoveries,
        "refusals": refusals.count,
        "memory_mib": round((process.memory_info().rss - before) / _MIB, 1),
        "cpu_share": round((sum(cpu_after[:2]) - sum(cpu_before[:2])) / STEADY_S, 3),
    }
    pool.stop()
    return result


def options(arguments: list[str]) -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    most = USUAL_CAPS.private_sockets
    parser.add_argument("--accounts", type=int, default=200, help="how many there are")
    parser.add_argument("--sockets", type=int, default=most, choices=range(1, most + 1), metavar="N")
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options(sys.argv[1:])
    with exchange(chosen.accounts) as (endpoints, keys, cut):
        found = measured(endpoints, keys, cut, sockets=chosen.sockets)
    minutes = (chosen.sockets - 1) // USUAL_CAPS.authentications_per_minute
    report.publish(
        report.Report(
            benchmark="pool",
            figures=found,
            floor={"all_live_s": 60.0 * minutes},
            aims={
                "refusals": Aim(measured=found["refusals"], at_most=0),
                "oldest_positions_s": Aim(
                    measured=found["oldest_positions_s"], at_most=USUAL_PACE.stale_s
                ),
            },
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
