"""The exchange's field names of the market data: JSON documents to values."""

from datetime import datetime
from typing import Final

from exchange.fields import Fields
from exchange.market import BestPrice, Candle, FundingSettlement, Leader, Leaderboard
from exchange.rows import inner_rows

_MOST: Final = 10**18


def candle(fields: Fields) -> Candle:
    return candle_of(fields, fields.time("time"))


def candle_of(fields: Fields, time: datetime) -> Candle:
    """Return the candle of `fields`, whose time is written differently by REST and stream."""
    return Candle(
        time=time,
        open=fields.price("open"),
        high=fields.price("high"),
        low=fields.price("low"),
        close=fields.price("close"),
        volume=fields.number("volume", least=0, most=_MOST),
    )


def funding_settlement(fields: Fields) -> FundingSettlement:
    return FundingSettlement(
        id=fields.text("id"),
        time=fields.time("time"),
        rate=fields.number("fundingRate", least=-1, most=1),
        fixing_price=fields.price("fixingPrice"),
    )


def best_price(document: object, where: str) -> BestPrice:
    fields = Fields.of(document, where)
    return BestPrice(ask=fields.price("askPrice"), bid=fields.price("bidPrice"))


def leaderboard(document: object, where: str) -> Leaderboard:
    fields = Fields.of(document, where)
    return Leaderboard(
        daily=_leaders(fields, "daily"),
        weekly=_leaders(fields, "weekly"),
        monthly=_leaders(fields, "monthly"),
        all_time=_leaders(fields, "all-time"),
    )


def _leaders(fields: Fields, name: str) -> tuple[Leader, ...]:
    return tuple(inner_rows(fields, name, _leader))


def _leader(fields: Fields) -> Leader:
    return Leader(
        username=fields.text("username"),
        profit=fields.integer("pl", least=-_MOST, most=_MOST),
        direction=fields.integer("direction", least=-_MOST, most=_MOST),
    )
