"""How much faster price and positions come from the live view than by REST, at 0 and 50 ms latency.

Floor: one bare round trip to Redis that fetches nothing. Rival: the same by REST.
"""

import sys
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from redis import Redis

from benchmarks import report
from benchmarks.paper import paper, redis
from benchmarks.report import Aim
from benchmarks.timing import Unit, each_of, spread
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
LEAST_SAVED: Final = {0: 0.962, 50: 0.99}
"""The share of the time that must be saved, at each latency in milliseconds."""


def at_latency(latency_ms: int, server: Redis) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a reading takes from the live view, and by REST."""
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
        live = each_of(lambda: by_live.snapshot(AGE_S), LIVE_READS)
        http = each_of(lambda: by_rest.snapshot(AGE_S), REST_READS[latency_ms])
    return spread(live, Unit.MS), spread(http, Unit.MS)


def main() -> None:
    folder = report.parser(__doc__ or "").parse_args(sys.argv[1:]).results
    live, rest, aims = {}, {}, {}
    with redis() as server:
        floor = spread(each_of(lambda: server.mget("nothing"), LIVE_READS), Unit.MS)
        for latency_ms, least in LEAST_SAVED.items():
            name = f"at_{latency_ms}_ms"
            live[name], rest[name] = at_latency(latency_ms, server)
            saved = 1 - live[name]["p50_ms"] / rest[name]["p50_ms"]
            aims[f"time_saved_{name}"] = Aim(measured=round(saved, 4), at_least=least)
    report.publish(
        report.Report(
            benchmark="live_view",
            figures={"positions": POSITIONS} | live,
            floor=floor,
            rival={"what": "the same by REST"} | rest,
            aims=aims,
        ),
        folder,
    )


if __name__ == "__main__":
    main()
