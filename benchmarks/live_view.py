"""How much faster price and positions come from the live view than by REST, at 0 and 50 ms latency.

Prints one JSON line. Floor: one bare round trip to Redis that fetches nothing.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from statistics import median, quantiles
from typing import Final

from redis import Redis

from benchmarks.paper import paper, redis
from exchange.client import Client
from exchange.config import PRIVATE_RATE, PUBLIC_RATE
from exchange.formulas import Side
from exchange.live import LiveView
from exchange.money import Usd
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.trade import NewTrade

POSITIONS: Final = 3
LIVE_READS: Final = 3000
REST_READS: Final = {0: 300, 50: 40}
AGE_S: Final = 60.0
FAST: Final = 1e6


def measured(call: Callable[[], object], times: int) -> dict[str, float]:
    """Return p50 and p95 of one call in milliseconds."""
    call()
    taken_ms = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken_ms.append((time.perf_counter() - started) * 1000)
    return {"p50_ms": round(median(taken_ms), 4), "p95_ms": round(quantiles(taken_ms, n=20)[18], 4)}


def at_latency(latency_ms: int, server: Redis) -> dict[str, object]:
    options = ("--prices", "manual", "--limits", "off", "--latency-ms", str(latency_ms))
    with paper("--accounts", "1", *options) as exchange:
        unlimited = LocalLimiter(
            {
                Scope.PUBLIC: replace(PUBLIC_RATE, per_s=FAST),
                Scope.PRIVATE: replace(PRIVATE_RATE, per_s=FAST),
            }
        )
        rest = RestClient(exchange.endpoints, exchange.accounts[0], limiter=unlimited)
        for _ in range(POSITIONS):
            rest.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(100)))
        by_rest = Client(rest, None, account_id=1, network="paper")
        by_live = Client(rest, LiveView(server), account_id=1, network="paper")
        live = measured(lambda: by_live.snapshot(AGE_S), LIVE_READS)
        http = measured(lambda: by_rest.snapshot(AGE_S), REST_READS[latency_ms])
    saved = 1 - live["p50_ms"] / http["p50_ms"]
    return {"latency_ms": latency_ms, "live": live, "rest": http, "time_saved": round(saved, 4)}


def main() -> None:
    with redis() as server:
        floor = measured(lambda: server.mget("nothing"), LIVE_READS)
        results = [at_latency(latency_ms, server) for latency_ms in REST_READS]
    line = {"benchmark": "live_view", "positions": POSITIONS, "floor": floor, "results": results}
    print(json.dumps(line))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
