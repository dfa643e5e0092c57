"""The exchange's field names of REST v3: JSON documents to values, values to request bodies."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol, TypeVar

from exchange import formulas
from exchange.account import AccountState
from exchange.fields import Fields, Scalar, json_text, readable, unreadable
from exchange.formulas import Side
from exchange.market import Step, Ticker
from exchange.money import MAX_PRICE, MIN_PRICE, Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
from exchange.rows import Rows, inner_rows, rows
from exchange.trade import CanceledTrade, ClosedTrade, NewTrade, OpenOrder, StopMode
from exchange.unreadable import Unreadable

_DENIED_BY: Final = {
    "open": ("running", "closed", "canceled"),
    "running": ("closed", "canceled"),
    "closed": ("open", "running", "canceled"),
    "canceled": ("open", "running", "closed"),
}
"""The states of a trade, each with those that it cannot have besides (3.6.2)."""
_MOST_LEVERAGE: Final = 10**6
_FINEST: Final = Decimal("1e-12")
_ANY_LEVEL: Final = 10**15


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
    """Return the account; only the balance decides, and less than none is none."""
    fields = Fields.of(document, where)
    return AccountState(
        id=readable(fields.text, "id"),
        username=readable(fields.text, "username"),
        balance=Sats(max(0, fields.signed_sats("balance"))),
        # The first tier has the highest fee: whoever reckons with it pays no more in the end.
        fee_tier=readable(_fee_tier(fields), "feeTier") or 0,
    )


def _fee_tier(fields: Fields) -> Callable[[str], int]:
    return lambda name: fields.integer(name, least=0, most=100)


def ticker(document: object, where: str) -> Ticker:
    fields = Fields.of(document, where)
    steps = readable(lambda name: inner_rows(fields, name, step), "prices")
    return Ticker(
        time=readable(fields.time, "time"),
        last_price=fields.price_or_none("lastPrice"),
        index=readable(fields.price_or_none, "index"),
        funding_rate=readable(fields.rate, "fundingRate"),
        funding_time=readable(fields.time, "fundingTime"),
        steps=tuple(steps or ()),
    )


def step(fields: Fields) -> Step:
    return Step(
        least=fields.usd("minSize", least=0),
        most=fields.usd("maxSize", least=0),
        ask=fields.price_or_none("askPrice"),
        bid=fields.price_or_none("bidPrice"),
    )


def running_trades(document: object, where: str) -> Rows[Position]:
    """Return the trades of the list; of one that stands there in two versions neither is believed."""
    found = rows(document, position, where)
    known = {each.id: each for each in found}
    differ = {each.id for each in found if each != known[each.id]}
    fault = str(unreadable(where, "the same id stands twice, with different values"))
    twice = [Unreadable(id=each, label=None, fault=fault) for each in sorted(differ)]
    return Rows((each for each in known.values() if each.id not in differ), (*found.unreadable, *twice))


def open_trades(document: object, where: str) -> Rows[OpenOrder]:
    return rows(document, open_order, where)


def canceled_trades(document: object, where: str) -> Rows[CanceledTrade]:
    return rows(document, canceled_trade, where)


def living_trade(document: object, where: str) -> Position | OpenOrder:
    """Return what runs or rests: the answer to a new trade, or to a moved stop."""
    fields = Fields.of(document, where)
    return position(fields) if fields.flag_or_false("running") else open_order(fields)


def position(fields: Fields) -> Position:
    """Return a running trade: what can be computed is, and what decides nothing may be missing."""
    _expect_state(fields, "running")
    size = _size(fields)
    liquidation = _liquidation(fields, size)
    return Position(
        id=_id(fields),
        side=size.side,
        quantity=size.quantity,
        entry=size.price,
        margin=size.margin,
        maintenance_margin=_maintenance_margin(fields, size, liquidation),
        liquidation=liquidation,
        leverage=_leverage(fields, size),
        stoploss=_exit(fields, "stoploss"),
        takeprofit=_exit(fields, "takeprofit"),
        filled_at=readable(fields.time_or_none, "filledAt"),
        client_id=client_id(fields),
        trailing=_trailing(fields),
        funding_fees=readable(fields.signed_sats, "sumFundingFees"),
        cashed_in=_cashed_in(fields),
        entry_margin=readable(fields.sats_or_none, "entryMargin"),
    )


def open_order(fields: Fields) -> OpenOrder:
    _expect_state(fields, "open")
    size = _size(fields)
    return OpenOrder(
        id=_id(fields),
        side=size.side,
        quantity=size.quantity,
        margin=size.margin,
        leverage=_leverage(fields, size),
        limit=size.price,
        liquidation=_liquidation(fields, size),
        stoploss=_exit(fields, "stoploss"),
        trailing=_trailing(fields),
        takeprofit=_exit(fields, "takeprofit"),
        created_at=readable(fields.time, "createdAt"),
        client_id=client_id(fields),
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
        funding_fees=readable(fields.signed_sats, "sumFundingFees"),
        created_at=readable(fields.time, "createdAt"),
        closed_at=readable(fields.time, "closedAt"),
        client_id=client_id(fields),
        liquidation=readable(fields.price_or_none, "liquidation"),
        stoploss=_exit(fields, "stoploss"),
        takeprofit=_exit(fields, "takeprofit"),
    )


def canceled_trade(fields: Fields) -> CanceledTrade:
    _expect_state(fields, "canceled")
    return CanceledTrade(
        id=_id(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        limit=fields.price("price"),
        canceled_at=readable(fields.time, "closedAt"),
        client_id=client_id(fields),
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


def client_id(fields: Fields) -> str | None:
    """Return the label; whatever is longer than any of ours, or no text, is none of ours."""
    return readable(lambda name: fields.text_or_none(name, most=1000), "clientId")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What every formula needs; nothing tells it where it cannot be read."""

    side: Side
    quantity: Usd
    price: UsdPerBtc
    margin: Sats


def _size(fields: Fields) -> _Size:
    return _Size(
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        price=fields.price("price"),
        margin=fields.sats("margin", least=1),
    )


def _liquidation(fields: Fields, size: _Size) -> UsdPerBtc:
    """Return what the exchange shows where that is a price, else what its formula gives (6.6).

    A short at 1x has no price at which it is liquidated, and may show anything there.
    """
    computed = formulas.liquidation_price(size.side, size.quantity, size.price, size.margin)
    return readable(fields.price, "liquidation") or max(MIN_PRICE, computed)


def _maintenance_margin(fields: Fields, size: _Size, liquidation: UsdPerBtc) -> Sats:
    """Return what the exchange shows, else the reserve for closing (6.4); one below 0 is no reserve."""
    shown = readable(fields.sats, "maintenanceMargin")
    return formulas.closing_reserve(size.quantity, liquidation) if shown is None else shown


def _leverage(fields: Fields, size: _Size) -> Decimal:
    """Return what the exchange shows, else what size and margin make of it (6.3)."""
    shown = readable(lambda name: fields.number(name, least=_FINEST, most=_MOST_LEVERAGE), "leverage")
    if shown is not None:
        return shown
    computed = formulas.leverage_of(size.quantity, size.price, size.margin)
    return Decimal(computed.numerator) / Decimal(computed.denominator)


def _exit(fields: Fields, name: str) -> UsdPerBtc | None:
    """Return the level of an exit; 0 says unset (3.6.2), and beyond all prices none is ever reached."""
    level = fields.number_or_none(name, least=-_ANY_LEVEL, most=_ANY_LEVEL)
    return UsdPerBtc(level) if level is not None and MIN_PRICE <= level <= MAX_PRICE else None


def _trailing(fields: Fields) -> Decimal | None:
    distance = fields.number_or_none("stoplossTrailingDistance", least=0, most=1000)
    return distance or None


def _cashed_in(fields: Fields) -> Sats | None:
    """Return the total; one that is not among the fields is 0 (12), one that cannot be read unknown."""
    told = [name for name in ("sumCashInPl", "sumCashInMargin") if name in fields.values]
    parts = [readable(fields.sats, name) for name in told]
    return None if None in parts else Sats(sum(part or 0 for part in parts))


def _expect_state(fields: Fields, expected: str) -> None:
    """A trade in another state than the list's must not be acted on; one that is filled runs (12)."""
    others = [state for state in _DENIED_BY[expected] if fields.flag_or_false(state)]
    if not fields.flag(expected) or others:
        said = [state for state in _DENIED_BY if fields.flag_or_false(state)]
        problem = f"does not hold: the trade says {' and '.join(said) or 'nothing'}"
        raise fields.fault(expected, problem)
