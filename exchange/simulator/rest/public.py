"""The endpoints that need no key (API notes, 3.3, 3.4, 3.9)."""

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import Final

from exchange.simulator.codec import iso
from exchange.simulator.engine.account import Account
from exchange.simulator.engine.chart import Range
from exchange.simulator.engine.market import next_funding_ms
from exchange.simulator.engine.trade import State
from exchange.simulator.rest import payloads
from exchange.simulator.rest.endpoints import Public, PublicCall, Routes
from exchange.simulator.rest.paging import page

_WEIGHTS: Final = {"bybit": 0.4, "binance": 0.4, "okx": 0.2}
_DAY_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)
_BOARDS: Final = {"daily": _DAY_MS, "weekly": 7 * _DAY_MS, "monthly": 30 * _DAY_MS, "all-time": None}


def _ping(_call: PublicCall) -> object:
    return "pong"


def _time(call: PublicCall) -> object:
    return {"time": iso(call.now_ms)}


def _ticker(call: PublicCall) -> object:
    market = call.venue.market
    return {
        "time": iso(call.now_ms),
        "index": market.index,
        "lastPrice": market.price,
        "fundingRate": market.funding_rate,
        "fundingTime": iso(next_funding_ms(call.now_ms)),
        "prices": [payloads.bucket(bucket) for bucket in market.ladder()],
        "priceChange24h": _change(call),
        "exchangesWeights": _WEIGHTS,
    }


def _change(call: PublicCall) -> object:
    before = call.venue.chart.price_before(call.now_ms - _DAY_MS)
    if before is None:
        return None
    ratio = Fraction(call.venue.market.price) / Fraction(before) - 1
    return {"ratio": ratio, "updatedAt": iso(call.now_ms)}


def _candles(call: PublicCall) -> object:
    range_ = call.params.choice("range", Range) if call.params.has("range") else Range.M1
    candles = call.venue.candles(range_, call.now_ms)
    return page(candles, call.params, time_ms=lambda candle: candle.time_ms, render=payloads.candle)


def _settlements(call: PublicCall) -> object:
    params = call.params
    newest_first = call.venue.market.settlements[::-1]
    if params.has("from") and params.time_ms("from") == params.time_ms("to"):
        # A habit of the exchange, seen on mainnet (API notes, 3.4).
        newest_first = []
    return page(newest_first, params, time_ms=lambda each: each.time_ms, render=payloads.settlement)


def _leaderboard(call: PublicCall) -> object:
    return {
        name: list(_board(call, None if span_ms is None else call.now_ms - span_ms))
        for name, span_ms in _BOARDS.items()
    }


def _board(call: PublicCall, since_ms: int | None) -> Iterator[dict[str, object]]:
    """Yield who closed trades since then, the best first."""
    sums = [(_realised(account, since_ms), account) for account in call.venue.accounts]
    for profit, account in sorted(sums, key=lambda entry: -entry[0]):
        if profit:
            direction = sum(trade.side.sign for trade in account.isolated.listed(State.RUNNING))
            yield {
                "username": account.identity.username,
                "pl": profit,
                "direction": (direction > 0) - (direction < 0),
            }


def _realised(account: Account, since_ms: int | None) -> int:
    return sum(
        trade.realised
        for trade in account.isolated.listed(State.CLOSED)
        if since_ms is None or (trade.closed_at_ms or 0) >= since_ms
    )


def _best_price(call: PublicCall) -> object:
    best = call.venue.market.ladder()[0]
    return {"askPrice": best.ask, "bidPrice": best.bid}


ROUTES: Routes = {
    ("GET", "/v3/ping"): Public(run=_ping),
    ("GET", "/v3/time"): Public(run=_time),
    ("GET", "/v3/futures/ticker"): Public(run=_ticker),
    ("GET", "/v3/futures/candles"): Public(run=_candles),
    ("GET", "/v3/futures/funding-settlements"): Public(run=_settlements),
    ("GET", "/v3/futures/leaderboard"): Public(run=_leaderboard),
    ("GET", "/v3/synthetic-usd/best-price"): Public(run=_best_price),
}
