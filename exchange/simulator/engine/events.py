"""What the engine tells the stream, in the stream's own words (API notes, 5.5 to 5.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exchange.money import UsdPerBtc
from exchange.simulator.engine.chart import Candle, Range
from exchange.simulator.engine.funding import FundingFee, Settlement
from exchange.simulator.engine.market import Market
from exchange.simulator.engine.trade import Exit, Trade

PAIR: Final = "btc_usd"
LAST_PRICE: Final = "futures/inverse/btc_usd/lastPrice"
TICKER: Final = "futures/inverse/btc_usd/ticker"
INDEX: Final = "futures/inverse/btc_usd/index"
BUCKETS: Final = "futures/inverse/btc_usd/buckets"
FUNDING: Final = "futures/inverse/btc_usd/funding"
OHLC: Final = "futures/inverse/btc_usd/ohlc/"
"""Followed by a range of candles."""
ANNOUNCEMENTS: Final = "announcements"
ISOLATED_TRADES: Final = "futures/inverse/btc_usd/isolated/trades"
CROSS_ORDERS: Final = "futures/inverse/btc_usd/cross/orders"
CROSS_POSITION: Final = "futures/inverse/btc_usd/cross/position"
DEPOSITS: Final = "wallet/deposit"
WITHDRAWALS: Final = "wallet/withdrawal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One push: public where `account` is None, else for the sessions of that account's id only."""

    topic: str
    data: Mapping[str, object]
    account: str | None = None


def price_moved(price: UsdPerBtc, at_ms: int) -> Event:
    return Event(topic=LAST_PRICE, data={"time": at_ms, "lastPrice": price})


def index_moved(index: UsdPerBtc, at_ms: int) -> Event:
    return Event(topic=INDEX, data={"time": at_ms, "index": index})


def funding_settled(settlement: Settlement) -> Event:
    current = {"rate": settlement.rate, "time": settlement.time_ms}
    return Event(topic=FUNDING, data={"pair": PAIR, "current": current})


def ticker(market: Market, at_ms: int, next_funding_ms: int) -> Event:
    funding = {"rate": market.funding_rate, "time": next_funding_ms}
    data = {"time": at_ms, "lastPrice": market.price, "index": market.index, "funding": funding}
    return Event(topic=TICKER, data=data)


def buckets(market: Market, at_ms: int) -> Event:
    rungs = [
        {
            "minSize": bucket.min_size,
            "maxSize": bucket.max_size,
            "askPrice": bucket.ask,
            "bidPrice": bucket.bid,
        }
        for bucket in market.ladder()
    ]
    return Event(topic=BUCKETS, data={"time": at_ms, "buckets": rungs})


def ohlc(range_: Range, candle: Candle) -> Event:
    data = {
        "time": candle.time_ms,
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
    }
    return Event(topic=OHLC + range_, data=data)


def trade_created(account: str, trade: Trade, event: str) -> Event:
    """Return `open` for a resting limit order, `filled` for a trade that began to run."""
    return _isolated(
        account,
        event,
        {
            "id": trade.id,
            "side": trade.side,
            "type": trade.type,
            "quantity": trade.quantity,
            "margin": trade.margin,
            "leverage": trade.leverage,
            "price": trade.price,
            "openingFee": trade.opening_fee,
            "createdAt": trade.created_at_ms,
            "clientId": trade.client_id,
        },
    )


def trade_ended(account: str, trade: Trade, exit_: Exit) -> Event:
    fields: dict[str, object] = {
        "id": trade.id,
        "closedAt": trade.closed_at_ms,
        "closingFee": trade.closing_fee,
        "exitPrice": trade.exit_price,
        "clientId": trade.client_id,
    }
    if exit_ is not Exit.LIQUIDATION:
        fields["pl"] = trade.realised
    return _isolated(account, exit_, fields)


def trade_canceled(account: str, trade: Trade) -> Event:
    fields = {"id": trade.id, "closedAt": trade.closed_at_ms, "clientId": trade.client_id}
    return _isolated(account, "canceled", fields)


def trade_funded(account: str, trade: Trade, fee: FundingFee) -> Event:
    fields = {
        "id": trade.id,
        "margin": trade.margin,
        "liquidationPrice": trade.liquidation,
        "fundingFee": fee.fee,
        "fundedAt": fee.time_ms,
        "clientId": trade.client_id,
    }
    return _isolated(account, "funding", fields)


def _isolated(account: str, event: str, trade: Mapping[str, object]) -> Event:
    return Event(
        topic=ISOLATED_TRADES, account=account, data={"pair": PAIR, "event": event, "trade": trade}
    )
