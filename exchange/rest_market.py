"""The market data of REST v3: what everyone may see."""

from exchange import wire_market
from exchange.instrument import path
from exchange.market import BestPrice, Candle, CandleRange, FundingSettlement, Leaderboard
from exchange.paging import Span
from exchange.ratelimit import Scope
from exchange.transport import Transport


class MarketRest:
    """Public reads; they raise TransientError, RejectedError, OperatorNeededError.

    A series with a gap is none: one row of it that cannot be read makes it unreadable.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def candles(self, span: Span, *, each: CandleRange = CandleRange.MINUTE) -> tuple[Candle, ...]:
        """Return the candles of that time, newest first."""
        return self._transport.pages(
            path("candles"),
            wire_market.candle,
            span,
            scope=Scope.PUBLIC,
            key=lambda candle: candle.time,
            query={"range": each},
        ).whole()

    def funding_settlements(self, span: Span) -> tuple[FundingSettlement, ...]:
        """Return the settlements of that time, newest first."""
        return self._transport.pages(
            path("funding-settlements"),
            wire_market.funding_settlement,
            span,
            scope=Scope.PUBLIC,
            key=lambda settlement: settlement.id,
        ).whole()

    def leaderboard(self) -> Leaderboard:
        return self._transport.get(path("leaderboard"), wire_market.leaderboard, scope=Scope.PUBLIC)

    def best_price(self) -> BestPrice:
        """Return the price of synthetic dollars."""
        return self._transport.get(
            "/synthetic-usd/best-price", wire_market.best_price, scope=Scope.PUBLIC
        )
