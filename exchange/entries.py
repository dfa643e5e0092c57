"""How prices and positions stand in the live view: compact texts, written and read by us alone."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from exchange.account import Balance
from exchange.formulas import Side
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.position import CROSS, Position, PositionsSnapshot, Regime
from exchange.unreadable import Unreadable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SIDES: Final = {side.value: side for side in Side}


def micros(at: datetime) -> int:
    """Return an aware time as microseconds since the epoch; each entry begins with its own."""
    return (at - _EPOCH) // _MICROSECOND


def quote_text(quote: Quote) -> str:
    index = "" if quote.index is None else f" {quote.index}"
    return f"{micros(quote.at)} {quote.source} {quote.time_ms} {quote.price}{index}"


def quote_of(text: str) -> Quote:
    """Return the quote of its text.

    Raises:
        ValueError, ArithmeticError: another version of ours has written it, say.
    """
    at, source, time_ms, price, *index = text.split(" ")
    return Quote(
        price=UsdPerBtc(Decimal(price)),
        at=moment(int(at)),
        time_ms=int(time_ms),
        source=Source(source),
        index=UsdPerBtc(Decimal(index[0])) if index else None,
    )


def balance_text(balance: Balance) -> str:
    return f"{micros(balance.at)} {balance.free}"


def balance_of(text: str) -> Balance:
    """Return the balance of its text.

    Raises:
        ValueError: another version of ours has written it, say.
    """
    at, free = text.split(" ")
    return Balance(free=Sats(int(free)), at=moment(int(at)))


def positions_text(snapshot: PositionsSnapshot) -> str:
    positions = [position_row(each) for each in snapshot.positions]
    unreadable = [[each.id, each.fault] for each in snapshot.unreadable]
    listed = json.dumps([positions, unreadable], separators=(",", ":"))
    return f"{micros(snapshot.at)} {snapshot.source} {micros(snapshot.fresh_at)} {listed}"


def positions_of(text: str) -> PositionsSnapshot:
    """Return the snapshot of its text.

    Raises:
        ValueError, KeyError, ArithmeticError: another version of ours has written it, say.
    """
    at, source, fresh_at, listed = text.split(" ", 3)
    positions, unreadable = json.loads(listed)
    return PositionsSnapshot(
        positions=tuple([position_of(each) for each in positions]),
        unreadable=tuple([_unreadable_of(*each) for each in unreadable]),
        at=moment(int(at)),
        source=Source(source),
        confirmed_at=moment(int(fresh_at)) if fresh_at != at else None,
    )


def _unreadable_of(row_id: str | None, fault: str) -> Unreadable:
    """Return the row without its label, by which only lists of orders are searched."""
    return Unreadable(id=row_id, label=None, fault=fault)


def position_row(position: Position) -> list[object]:
    """Return the fields in the order in which `position_of` takes them."""
    return [
        position.id,
        position.side,
        position.quantity,
        str(position.entry),
        position.margin,
        position.maintenance_margin,
        str(position.liquidation),
        str(position.leverage),
        _text(position.stoploss),
        _text(position.takeprofit),
        None if position.filled_at is None else micros(position.filled_at),
        position.client_id,
        _text(position.trailing),
        position.funding_fees,
        position.cashed_in,
        position.entry_margin,
    ]


def position_of(row: list[Any]) -> Position:
    """Return the position of a row by `position_row`; it was checked when the exchange sent it."""
    (
        trade_id, side, quantity, entry, margin, maintenance_margin, liquidation, leverage,
        stoploss, takeprofit, filled_at, client_id, trailing, funding_fees, cashed_in, entry_margin,
    ) = row  # fmt: skip
    return Position(
        id=trade_id,
        side=_SIDES[side],
        quantity=quantity,
        entry=UsdPerBtc(Decimal(entry)),
        margin=margin,
        maintenance_margin=maintenance_margin,
        liquidation=UsdPerBtc(Decimal(liquidation)),
        leverage=Decimal(leverage),
        stoploss=None if stoploss is None else UsdPerBtc(Decimal(stoploss)),
        takeprofit=None if takeprofit is None else UsdPerBtc(Decimal(takeprofit)),
        filled_at=None if filled_at is None else moment(filled_at),
        client_id=client_id,
        trailing=None if trailing is None else Decimal(trailing),
        funding_fees=funding_fees,
        cashed_in=cashed_in,
        entry_margin=entry_margin,
        regime=Regime.CROSS if trade_id == CROSS else Regime.ISOLATED,
    )


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def moment(since_epoch: int) -> datetime:
    """Return what `micros` was of."""
    return _EPOCH + since_epoch * _MICROSECOND
