"""The exchange's field names of REST v3: JSON documents to values, values to request bodies."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol, TypeVar

from exchange.account import AccountState
from exchange.fields import Fields, Scalar, json_text, objects, unreadable
from exchange.formulas import Side
from exchange.market import Step, Ticker
from exchange.money import Sats
from exchange.position import Position, PositionId
from exchange.trade import CanceledTrade, ClosedTrade, NewTrade, OpenOrder, StopMode

_STATES: Final = ("open", "running", "closed", "canceled")
_MOST_LEVERAGE: Final = 10**6
_FINEST: Final = Decimal("1e-12")


Value = TypeVar("Value")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


NamedValue = TypeVar("NamedValue", bound=_Named)


def one(item: Callable[[Fields], Value]) -> Callable[[object, str], Value]:
    """Return the reader of an answer that is one such object."""
    return lambda document, where: item(Fields.of(document, where))


def about(
    expected: str, reader: Callable[[object, str], NamedValue]
) -> Callable[[object, str], NamedValue]:
    """Return a reader that refuses an answer about another one."""

    def read(document: object, where: str) -> NamedValue:
        value = reader(document, where)
        if value.id != expected:
            raise unreadable(where, f"the answer is about {value.id}, not {expected}")
        return value

    return read


def pong(document: object, where: str) -> None:
    if document != "pong":
        raise unreadable(where, "the answer is not pong")


def server_time(document: object, where: str) -> datetime:
    return Fields.of(document, where).time("time")


def account(document: object, where: str) -> AccountState:
    fields = Fields.of(document, where)
    return AccountState(
        id=fields.text("id"),
        username=fields.text("username"),
        balance=fields.sats("balance"),
        synthetic_usd=fields.number("syntheticUsdBalance", least=0, most=10**15),
        fee_tier=fields.integer("feeTier", least=0, most=100),
    )


def ticker(document: object, where: str) -> Ticker:
    fields = Fields.of(document, where)
    return Ticker(
        time=fields.time("time"),
        last_price=fields.price_or_none("lastPrice"),
        index=fields.price_or_none("index"),
        funding_rate=fields.number_or_none("fundingRate", least=-1, most=1),
        funding_time=fields.time_or_none("fundingTime"),
        steps=tuple(step(item) for item in fields.inners("prices")),
    )


def step(fields: Fields) -> Step:
    return Step(
        least=fields.usd("minSize", least=0),
        most=fields.usd("maxSize", least=0),
        ask=fields.price_or_none("askPrice"),
        bid=fields.price_or_none("bidPrice"),
    )


def running_trades(document: object, where: str) -> tuple[Position, ...]:
    positions = tuple(position(fields) for fields in objects(document, where))
    if len({each.id for each in positions}) < len(positions):
        raise unreadable(where, "the same id stands twice")
    return positions


def open_trades(document: object, where: str) -> tuple[OpenOrder, ...]:
    return tuple(open_order(fields) for fields in objects(document, where))


def canceled_trades(document: object, where: str) -> tuple[CanceledTrade, ...]:
    return tuple(canceled_trade(fields) for fields in objects(document, where))


def living_trade(document: object, where: str) -> Position | OpenOrder:
    """Return what runs or rests: the answer to a new trade, or to a moved stop."""
    fields = Fields.of(document, where)
    return position(fields) if fields.flag("running") else open_order(fields)


def position(fields: Fields) -> Position:
    _expect_state(fields, "running")
    return Position(
        id=_id(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        entry=fields.price("price"),
        margin=fields.sats("margin", least=1),
        maintenance_margin=fields.sats("maintenanceMargin"),
        liquidation=fields.price("liquidation"),
        leverage=_leverage(fields),
        stoploss=fields.price_or_none("stoploss"),
        takeprofit=fields.price_or_none("takeprofit"),
        filled_at=fields.time_or_none("filledAt"),
        client_id=_client_id(fields),
        trailing=_trailing(fields),
        funding_fees=fields.signed_sats("sumFundingFees"),
        cashed_in=_cashed_in(fields),
        entry_margin=fields.sats_or_none("entryMargin"),
    )


def open_order(fields: Fields) -> OpenOrder:
    _expect_state(fields, "open")
    return OpenOrder(
        id=_id(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        margin=fields.sats("margin", least=1),
        leverage=_leverage(fields),
        limit=fields.price("price"),
        liquidation=fields.price("liquidation"),
        stoploss=fields.price_or_none("stoploss"),
        trailing=_trailing(fields),
        takeprofit=fields.price_or_none("takeprofit"),
        created_at=fields.time("createdAt"),
        client_id=_client_id(fields),
    )


def closed_trade(fields: Fields) -> ClosedTrade:
    _expect_state(fields, "closed")
    return ClosedTrade(
        id=_id(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        margin=fields.sats("margin"),
        entry=fields.price("price"),
        exit=fields.price("exitPrice"),
        profit=fields.signed_sats("pl"),
        opening_fee=fields.sats("openingFee"),
        closing_fee=fields.sats("closingFee"),
        funding_fees=fields.signed_sats("sumFundingFees"),
        created_at=fields.time("createdAt"),
        closed_at=fields.time("closedAt"),
        client_id=_client_id(fields),
        liquidation=fields.price_or_none("liquidation"),
        stoploss=fields.price_or_none("stoploss"),
        takeprofit=fields.price_or_none("takeprofit"),
    )


def canceled_trade(fields: Fields) -> CanceledTrade:
    _expect_state(fields, "canceled")
    return CanceledTrade(
        id=_id(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        limit=fields.price("price"),
        canceled_at=fields.time("closedAt"),
        client_id=_client_id(fields),
    )


def new_trade_body(trade: NewTrade) -> str:
    """Return the body of `POST trade`; what is unset is left out, not sent as null (2.1)."""
    wanted: dict[str, Scalar] = {
        "type": "market" if trade.limit is None else "limit",
        "side": trade.side,
        "quantity": trade.quantity,
        "margin": trade.margin,
        "leverage": trade.leverage,
        "price": trade.limit,
        "stoploss": trade.stoploss if trade.trailing is None else trade.trailing,
        "stoplossMode": None if trade.trailing is None else StopMode.TRAILING,
        "takeprofit": trade.takeprofit,
        "clientId": trade.client_id,
    }
    return json_text({name: value for name, value in wanted.items() if value is not None})


def _id(fields: Fields) -> PositionId:
    return PositionId(fields.text("id", most=64))


def _client_id(fields: Fields) -> str | None:
    return fields.text_or_none("clientId", most=1000)


def _leverage(fields: Fields) -> Decimal:
    return fields.number("leverage", least=_FINEST, most=_MOST_LEVERAGE)


def _trailing(fields: Fields) -> Decimal | None:
    distance = fields.number_or_none("stoplossTrailingDistance", least=0, most=1000)
    return distance or None


def _cashed_in(fields: Fields) -> Sats:
    return Sats(fields.sats("sumCashInPl") + fields.sats("sumCashInMargin"))


def _expect_state(fields: Fields, expected: str) -> None:
    """A trade is in exactly one state (3.6.2); one in another than the list's must not be acted on."""
    actual = [state for state in _STATES if fields.flag(state)]
    if actual != [expected]:
        raise fields.fault(
            expected, f"does not hold: the trade says {' and '.join(actual) or 'nothing'}"
        )
