"""The topics of Stream v1 and the field names of what is pushed on each (API notes, 5.5 to 5.8)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from exchange import wire, wire_cross, wire_market
from exchange.cross import CrossOrderId, CrossOrderType
from exchange.events import (
    Announcement,
    CandleUpdate,
    CrossOrderEvent,
    CrossOrderEventKind,
    CrossPositionEvent,
    CrossPositionEventKind,
    FundingSettled,
    IndexTick,
    LadderUpdate,
    PriceTick,
    StreamEvent,
    TickerUpdate,
    TradeEvent,
    TradeEventKind,
    WalletDirection,
    WalletEvent,
)
from exchange.fields import Fields, from_ms, readable
from exchange.formulas import Side
from exchange.instrument import topic
from exchange.market import CandleRange
from exchange.position import PositionId
from exchange.rows import inner_rows

ANNOUNCEMENTS: Final = "announcements"
LAST_PRICE: Final = topic("lastPrice")
TICKER: Final = topic("ticker")
INDEX: Final = topic("index")
BUCKETS: Final = topic("buckets")
FUNDING: Final = topic("funding")
ISOLATED_TRADES: Final = topic("isolated/trades")
CROSS_ORDERS: Final = topic("cross/orders")
CROSS_POSITION: Final = topic("cross/position")
WALLET_DEPOSIT: Final = "wallet/deposit"
WALLET_WITHDRAWAL: Final = "wallet/withdrawal"


_EXITS: Final = frozenset(
    {
        TradeEventKind.CLOSED,
        TradeEventKind.STOPLOSS,
        TradeEventKind.TAKEPROFIT,
        TradeEventKind.LIQUIDATION,
    }
)


def candles_topic(each: CandleRange) -> str:
    return topic(f"ohlc/{each}")


def event(params: Fields, received_at: datetime) -> StreamEvent:
    """Return the event of one push.

    Raises:
        OperatorNeededError: the topic is unknown, or a field is not as it should be.
    """
    name = params.text("topic")
    read = _READERS.get(name)
    if read is None:
        raise params.fault("topic", f"is none we know: {name[:60]!r}")
    return read(params.inner("data"), received_at)


def _price_tick(data: Fields, received_at: datetime) -> PriceTick:
    return PriceTick(
        price=data.price("lastPrice"), time_ms=data.time_ms("time"), received_at=received_at
    )


def _ticker(data: Fields, received_at: datetime) -> TickerUpdate:
    funding = readable(data.inner, "funding")
    return TickerUpdate(
        last_price=readable(data.price_or_none, "lastPrice"),
        index=readable(data.price_or_none, "index"),
        funding_rate=readable(funding.rate, "rate") if funding else None,
        funding_time_ms=readable(funding.time_ms, "time") if funding else None,
        time_ms=data.time_ms("time"),
        received_at=received_at,
    )


def _trade(data: Fields, received_at: datetime) -> TradeEvent:
    kind = data.known_choice("event", TradeEventKind)
    trade = data.inner("trade")
    begins = kind in {TradeEventKind.OPEN, TradeEventKind.FILLED}
    funding = kind is TradeEventKind.FUNDING
    exits = kind in _EXITS
    books = exits and kind is not TradeEventKind.LIQUIDATION
    return TradeEvent(
        kind=kind,
        trade_id=PositionId(trade.text("id", most=64)),
        client_id=wire.client_id(trade),
        received_at=received_at,
        side=trade.choice("side", Side) if begins else None,
        quantity=trade.usd("quantity") if begins else None,
        margin=trade.sats("margin") if begins or funding else None,
        price=trade.price("price") if begins else None,
        profit=trade.signed_sats("pl") if books else None,
        exit=trade.price("exitPrice") if exits else None,
        liquidation=trade.price("liquidationPrice") if funding else None,
        funding_fee=trade.signed_sats("fundingFee") if funding else None,
    )


def _index(data: Fields, received_at: datetime) -> IndexTick:
    return IndexTick(index=data.price("index"), time_ms=data.time_ms("time"), received_at=received_at)


def _ladder(data: Fields, received_at: datetime) -> LadderUpdate:
    return LadderUpdate(
        steps=tuple(inner_rows(data, "buckets", wire.step)),
        time_ms=data.time_ms("time"),
        received_at=received_at,
    )


def _funding(data: Fields, received_at: datetime) -> FundingSettled:
    current = data.inner("current")
    return FundingSettled(
        rate=current.number("rate", least=-1, most=1),
        time_ms=current.time_ms("time"),
        received_at=received_at,
    )


def _candle_reader(each: CandleRange) -> "_Reader":
    def read(data: Fields, received_at: datetime) -> CandleUpdate:
        candle = wire_market.candle_of(data, from_ms(data.time_ms("time")))
        return CandleUpdate(each=each, candle=candle, received_at=received_at)

    return read


def _announcement(data: Fields, received_at: datetime) -> Announcement:
    return Announcement(
        id=data.text("id"),
        title=data.text_or_none("title", most=10_000),
        message=data.text_or_none("message", most=100_000),
        link=data.text_or_none("link", most=10_000),
        received_at=received_at,
    )


def _cross_order(data: Fields, received_at: datetime) -> CrossOrderEvent:
    order = data.inner("order")
    return CrossOrderEvent(
        kind=data.known_choice("event", CrossOrderEventKind),
        order_id=CrossOrderId(order.text("id", most=64)),
        type=order.known_choice("type", CrossOrderType),
        side=order.choice("side", Side),
        quantity=order.usd("quantity"),
        price=order.price("price"),
        filled=order.values.get("filledAt") is not None,
        client_id=wire.client_id(order),
        received_at=received_at,
    )


def _cross_position(data: Fields, received_at: datetime) -> CrossPositionEvent:
    position = data.inner("position")
    updated_at = readable(lambda name: _moment(position, name), "updatedAt")
    return CrossPositionEvent(
        kind=data.known_choice("event", CrossPositionEventKind),
        position=wire_cross.position_of(position, updated_at),
        received_at=received_at,
    )


def _moment(fields: Fields, name: str) -> datetime:
    """Return a time that REST writes as text and the stream, so far as known, in milliseconds."""
    if isinstance(fields.values.get(name), str):
        return fields.time(name)
    return from_ms(fields.time_ms(name))


def _wallet_reader(direction: WalletDirection) -> "_Reader":
    def read(data: Fields, received_at: datetime) -> WalletEvent:
        return WalletEvent(
            direction=direction,
            id=data.text("id"),
            network=data.text("network"),
            amount=data.sats("amount"),
            balance=data.sats("balance"),
            status=data.text("status"),
            received_at=received_at,
        )

    return read


_Reader = Callable[[Fields, datetime], StreamEvent]

_READERS: Final[Mapping[str, _Reader]] = {
    ANNOUNCEMENTS: _announcement,
    LAST_PRICE: _price_tick,
    TICKER: _ticker,
    INDEX: _index,
    BUCKETS: _ladder,
    FUNDING: _funding,
    **{candles_topic(each): _candle_reader(each) for each in CandleRange},
    ISOLATED_TRADES: _trade,
    CROSS_ORDERS: _cross_order,
    CROSS_POSITION: _cross_position,
    WALLET_DEPOSIT: _wallet_reader(WalletDirection.DEPOSIT),
    WALLET_WITHDRAWAL: _wallet_reader(WalletDirection.WITHDRAWAL),
}
