"""The endpoints of REST v3, each as one method with typed arguments and answers."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import SupportsFloat

from exchange import wire, wire_cross
from exchange.account import AccountState
from exchange.auth import Credentials
from exchange.config import (
    PRIVATE_RATE,
    PUBLIC_RATE,
    USUAL_RETRIES,
    USUAL_TIMEOUTS,
    Endpoints,
    Retries,
    Timeouts,
)
from exchange.connections import Connections
from exchange.cross import FundingFee
from exchange.errors import TransientError
from exchange.fields import Scalar, json_text, to_ms
from exchange.instrument import path
from exchange.market import Quote, Source, Ticker
from exchange.money import Sats, UsdPerBtc
from exchange.paging import LATEST, Span
from exchange.position import Position, PositionId, PositionsSnapshot
from exchange.ratelimit import Limiter, LocalLimiter, Scope
from exchange.rest_cross import CrossRest
from exchange.rest_market import MarketRest
from exchange.rows import Rows
from exchange.serverclock import ServerClock
from exchange.trade import (
    CanceledTrade,
    ClosedTrade,
    NewTrade,
    OpenOrder,
    StopMode,
    check_price,
    check_trailing,
)
from exchange.transport import Transport


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RestClient:
    """REST v3 for one key, or for none: then only public calls work.

    Every method raises the four errors of `exchange.errors`, reads all but UnknownOutcomeError.
    Reads are repeated, writes are sent once.

    Args:
        limiter: shared by all who use the same key or address; by default limits of this client alone.
        server_clock: shared by all clients of the same exchange; by default one of its own.
        connections: the same; `close_connections` closes only those of its own.
        now: our wall clock, aware.
        clock: returns seconds from any fixed start, never going back.
        chance: returns a number in [0, 1).
    """

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None = None,
        *,
        timeouts: Timeouts = USUAL_TIMEOUTS,
        retries: Retries = USUAL_RETRIES,
        limiter: Limiter | None = None,
        server_clock: ServerClock | None = None,
        connections: Connections | None = None,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        rates = {Scope.PUBLIC: PUBLIC_RATE, Scope.PRIVATE: PRIVATE_RATE}
        self._now = now
        self._transport = Transport(
            endpoints,
            credentials,
            timeouts=timeouts,
            limiter=limiter or LocalLimiter(rates, clock=clock),
            server_clock=server_clock or ServerClock(clock=clock),
            retries=retries,
            connections=connections,
            clock=clock,
            sleep=sleep,
            chance=chance,
        )

        self.market = MarketRest(self._transport)
        """Candles, funding settlements and the like."""
        self.cross = CrossRest(self._transport)
        """The cross margin regime."""

    def close_connections(self) -> None:
        self._transport.close()

    # Public

    def ping(self) -> None:
        self._transport.get("/ping", wire.pong, scope=Scope.PUBLIC)

    def time(self) -> datetime:
        """Return the exchange's time, aware."""
        return self._transport.get("/time", wire.server_time, scope=Scope.PUBLIC)

    def measure_clock(self) -> None:
        """Take over the exchange's time for signatures, now."""
        self._transport.measure_clock()

    def ticker(self, *, urgency: SupportsFloat | None = None) -> Ticker:
        return self._transport.get(path("ticker"), wire.ticker, scope=Scope.PUBLIC, urgency=urgency)

    def quote(self, *, urgency: SupportsFloat | None = None) -> Quote:
        """Return the last price, with the index; `urgency`, as below: a protective write needs it.

        Raises:
            TransientError: also where the exchange knows no price just now.
        """
        at = self._now()
        ticker = self.ticker(urgency=urgency)
        if ticker.last_price is None:
            raise TransientError("LN Markets gives no price at the moment")
        return Quote(
            price=ticker.last_price,
            at=at,
            time_ms=to_ms(ticker.time or at),
            source=Source.REST,
            index=ticker.index,
        )

    # Account

    def account(self, *, urgency: SupportsFloat | None = None) -> AccountState:
        return self._transport.get("/account", wire.account, scope=Scope.PRIVATE, urgency=urgency)

    # Isolated trades: reads

    def positions(self, *, urgency: SupportsFloat | None = None) -> PositionsSnapshot:
        """Return the running trades with the moment at which they were asked for."""
        at = self._now()
        found = self.running_trades(urgency=urgency)
        return PositionsSnapshot(
            positions=tuple(found), unreadable=found.unreadable, at=at, source=Source.REST
        )

    def take_turn(self, urgency: SupportsFloat) -> bool:
        """Take this thread's next turn for a protective write under the limit; False: not free yet."""
        return self._transport.take_turn(urgency)

    def await_turn(self, urgency: Callable[[], SupportsFloat]) -> None:
        """Wait until this thread may take such a turn, so that it decides only then what to send.

        `urgency` is asked again from time to time while it waits.

        Raises:
            TransientError: the turn would come too late.
        """
        self._transport.await_turn(urgency)

    def leave_turn(self) -> None:
        """Let others have it, where there was nothing to send."""
        self._transport.leave_turn()

    def running_trades(self, *, urgency: SupportsFloat | None = None) -> Rows[Position]:
        return self._transport.get(
            path("isolated/trades/running"), wire.running_trades, scope=Scope.PRIVATE, urgency=urgency
        )

    def open_trades(self) -> Rows[OpenOrder]:
        return self._transport.get(path("isolated/trades/open"), wire.open_trades, scope=Scope.PRIVATE)

    def closed_trades(self, span: Span = LATEST) -> Rows[ClosedTrade]:
        """Return the trades closed in that time, newest first."""
        return self._transport.pages(
            path("isolated/trades/closed"),
            wire.closed_trade,
            span,
            scope=Scope.PRIVATE,
            key=attrgetter("id"),
        )

    def canceled_trades(self, span: Span = LATEST) -> Rows[CanceledTrade]:
        """Return the trades canceled in that time, newest first."""
        return self._transport.pages(
            path("isolated/trades/canceled"),
            wire.canceled_trade,
            span,
            scope=Scope.PRIVATE,
            key=attrgetter("id"),
        )

    def funding_fees(
        self, span: Span = LATEST, *, trade_id: PositionId | None = None
    ) -> Rows[FundingFee]:
        """Return the funding of isolated trades in that time, newest first."""
        return self._transport.pages(
            path("isolated/funding-fees"),
            wire_cross.funding_fee,
            span,
            scope=Scope.PRIVATE,
            key=lambda fee: (fee.settlement_id, fee.trade_id),
            query={"tradeId": trade_id} if trade_id else None,
        )

    # Isolated trades: writes

    def open_trade(self, trade: NewTrade) -> Position | OpenOrder:
        """Return what runs (at market) or rests (at a limit)."""
        return self._transport.write(
            "POST", path("isolated/trade"), wire.living_trade, body=wire.new_trade_body(trade)
        )

    def close(self, trade_id: PositionId, *, urgency: SupportsFloat | None = None) -> ClosedTrade:
        """Close the whole running trade at market; of protective writes the most urgent goes first."""
        return self._transport.write(
            "POST",
            path("isolated/trade/close"),
            wire.about(trade_id, wire.one(wire.closed_trade)),
            body=json_text({"id": trade_id}),
            protective=True,
            urgency=urgency,
        )

    def cancel(self, trade_id: PositionId) -> CanceledTrade:
        """Take back a trade that does not run yet."""
        return self._transport.write(
            "POST",
            path("isolated/trade/cancel"),
            wire.about(trade_id, wire.one(wire.canceled_trade)),
            body=json_text({"id": trade_id}),
            protective=True,
        )

    def cancel_all(self) -> Rows[CanceledTrade]:
        """Take back all trades that do not run yet."""
        return self._transport.write(
            "POST", path("isolated/trades/cancel-all"), wire.canceled_trades, protective=True
        )

    def add_margin(
        self, trade_id: PositionId, amount: Sats, *, urgency: SupportsFloat | None = None
    ) -> Position:
        """Move sats from the balance into the trade. Each success acts again: never repeat unseen."""
        return self._move_margin("add-margin", trade_id, amount, protective=True, urgency=urgency)

    def cash_in(self, trade_id: PositionId, amount: Sats) -> Position:
        """Take sats out of the trade: profit first, then margin (6.9). Each success acts again."""
        return self._move_margin("cash-in", trade_id, amount, protective=False)

    def set_stoploss(
        self,
        trade_id: PositionId,
        value: UsdPerBtc | None,
        *,
        trailing: Decimal | None = None,
        urgency: SupportsFloat | None = None,
    ) -> Position | OpenOrder:
        """Set a stop at a price, or trailing by a share of the price; remove it where both are None."""
        if value is not None and trailing is not None:
            raise ValueError("a stop is fixed or trailing, not both")
        check_price("stoploss", value)
        check_trailing(trailing)
        mode = None if trailing is None else StopMode.TRAILING
        wanted = value if trailing is None else trailing
        return self._set_exit("stoploss", trade_id, wanted, mode, urgency=urgency)

    def set_takeprofit(self, trade_id: PositionId, value: UsdPerBtc | None) -> Position | OpenOrder:
        """Set the take profit at a price; None removes it."""
        check_price("takeprofit", value)
        return self._set_exit("takeprofit", trade_id, value, None)

    def _move_margin(
        self,
        call: str,
        trade_id: PositionId,
        amount: Sats,
        *,
        protective: bool,
        urgency: SupportsFloat | None = None,
    ) -> Position:
        if amount < 1:
            raise ValueError(f"the amount must be positive, was {amount}")
        return self._transport.write(
            "POST",
            path(f"isolated/trade/{call}"),
            wire.about(trade_id, wire.one(wire.position)),
            body=json_text({"id": trade_id, "amount": amount}),
            protective=protective,
            urgency=urgency,
        )

    def _set_exit(
        self,
        kind: str,
        trade_id: PositionId,
        value: Decimal | None,
        mode: StopMode | None,
        *,
        urgency: SupportsFloat | None = None,
    ) -> Position | OpenOrder:
        exit_path = path(f"isolated/trade/{kind}")
        reader = wire.about(trade_id, wire.living_trade)
        if value is None:
            return self._transport.write(
                "DELETE", exit_path, reader, query={"id": trade_id}, protective=False
            )
        wanted: dict[str, Scalar] = {"id": trade_id, "value": value}
        if mode is not None:
            wanted["mode"] = mode
        return self._transport.write(
            "PUT",
            exit_path,
            reader,
            body=json_text(wanted),
            protective=kind == "stoploss",
            urgency=urgency,
        )
