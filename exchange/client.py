"""One client for whoever acts: the live view where it is fresh enough, else REST; writes by REST."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import SupportsFloat, TypeVar

from exchange.account import AccountState, Balance
from exchange.errors import TransientError, UnreadableFieldError
from exchange.live import LiveView, View, is_fresh
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.paging import Span
from exchange.position import CROSS, Position, PositionId, PositionsSnapshot
from exchange.ratelimit import NOT_URGENT
from exchange.rest import RestClient
from exchange.rows import Rows
from exchange.trade import CanceledTrade, ClosedTrade, NewTrade, OpenOrder
from exchange.unreadable import Unreadable

Value = TypeVar("Value")
Read = TypeVar("Read", Quote, PositionsSnapshot)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What is to be had without the positions."""

    quote: Quote
    balance: Balance | None
    """As last read by whoever read it, of whatever age; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Glance):
    """All that a rule decides on."""

    positions: PositionsSnapshot


class Client:
    """What one account can see and do.

    Reads never return anything older than asked for: they raise the errors of `exchange.errors`
    instead. What a decision needs is read as urgently as protective writes are sent, so that a long
    hold of the exchange stops neither. Writes are sent once; each makes older positions in the live
    view unknown.

    Args:
        live: None where there is no live view.
        now: our wall clock, aware.
    """

    def __init__(
        self,
        rest: RestClient,
        live: LiveView | None = None,
        *,
        account_id: int,
        network: str,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.rest = rest
        self._live = live
        self._account_id = account_id
        self._network = network
        self._now = now

    def price(self, max_age_s: float) -> Quote:
        """Return the last price.

        Raises:
            TransientError: also where the answer came too late to be that fresh.
        """
        return self.glance(max_age_s).quote

    def glance(self, max_age_s: float, *, ahead: View | None = None) -> Glance:
        """Return the last price, and the balance if somebody read it lately; the age is the price's.

        `ahead` is what somebody read from the live view for many at once; where that is not fresh
        enough it is read again.

        Raises:
            TransientError: also where the answer came too late to be that fresh.
        """
        view = ahead if ahead and self._is_fresh(ahead.quote, max_age_s) else self._view()
        return Glance(quote=self._fresh_price(view, max_age_s), balance=view.balance)

    def heard_price(self) -> Quote | None:
        """Return the price in the live view, of whatever age; None where there is none."""
        return self._view().quote

    def positions(self, max_age_s: float, not_before: datetime | None = None) -> PositionsSnapshot:
        """Return the running trades, seen at `not_before` at the earliest.

        Raises:
            TransientError: also where the answer came too late to be that fresh.
        """
        return self._fresh_positions(self._own_view(), max_age_s, not_before)

    def snapshot(
        self,
        max_age_s: float,
        not_before: datetime | None = None,
        *,
        ahead: View | None = None,
        positions_max_age_s: float | None = None,
        position_id: PositionId | None = None,
    ) -> Snapshot:
        """Return price and positions; `not_before` is about the positions, `ahead` as for `glance`.

        Positions may be as old as `positions_max_age_s` says, by default as old as the price. Where
        only one position is asked for, it may be the only one in the answer.

        Raises:
            TransientError: also where an answer came too late to be that fresh.
        """
        old_s = max_age_s if positions_max_age_s is None else positions_max_age_s
        view = ahead
        if (
            view is None
            or not self._is_fresh(view.quote, max_age_s)
            or not self._is_fresh(view.positions, old_s, not_before)
        ):
            view = self._view(position_id)
        positions = self._fresh_positions(view, old_s, not_before)
        if positions is not view.positions and not self._is_fresh(view.quote, max_age_s):
            view = self._view()  # reading them may have taken seconds, in which the stream went on
        return Snapshot(
            positions=positions,
            quote=self._fresh_price(view, max_age_s),
            balance=view.balance,
        )

    def held_cross(
        self, max_age_s: float, not_before: datetime | None = None, *, ahead: View | None = None
    ) -> PositionsSnapshot:
        """Return the cross position as `snapshot` does the trades: held where fresh, else read.

        Raises:
            TransientError: also where the answer came too late to be that fresh.
        """
        for view in (ahead, self._own_view(CROSS)):
            held = view.cross if view else None
            if held and self._is_fresh(held, max_age_s, not_before):
                return replace(held, with_cross=True)
        return self.cross(max_age_s, urgency=NOT_URGENT)

    def cross(
        self, max_age_s: float | None = None, *, urgency: SupportsFloat | None = None
    ) -> PositionsSnapshot:
        """Read the cross position by REST, as a snapshot of one position or none.

        Raises:
            TransientError: also where the answer came too late to be that fresh.
        """
        snapshot = self._cross_now(urgency)
        if self._live:
            self._live.put_cross(self._account_id, snapshot)
        return snapshot if max_age_s is None else self._in_time(snapshot, max_age_s)

    def _cross_now(self, urgency: SupportsFloat | None) -> PositionsSnapshot:
        at = self._now()
        held: tuple[Position, ...] = ()
        unreadable: tuple[Unreadable, ...] = ()
        try:
            position = self.rest.cross.position(urgency=urgency).running()
        except UnreadableFieldError as error:
            unreadable = (Unreadable(id=CROSS, label=None, fault=str(error)),)
        else:
            held = (position,) if position else ()
        return PositionsSnapshot(
            positions=held, unreadable=unreadable, at=at, source=Source.REST, with_cross=True
        )

    def account(self) -> AccountState:
        return self._account()[0]

    def balance(self, *, urgency: SupportsFloat | None = None) -> Balance:
        """Read the free balance by REST; `urgency`: a protective write needs it."""
        return self._account(urgency)[1]

    def _account(self, urgency: SupportsFloat | None = None) -> tuple[AccountState, Balance]:
        at = self._now()
        account = self.rest.account(urgency=urgency)
        balance = Balance(free=account.balance, at=at)
        if self._live:
            self._live.put_balance(self._account_id, balance)
        return account, balance

    def open_trades(self) -> Rows[OpenOrder]:
        return self.rest.open_trades()

    def closed_trades(self, span: Span) -> Rows[ClosedTrade]:
        return self.rest.closed_trades(span)

    def canceled_trades(self, span: Span) -> Rows[CanceledTrade]:
        return self.rest.canceled_trades(span)

    def open_trade(self, trade: NewTrade) -> Position | OpenOrder:
        return self.changing(lambda: self.rest.open_trade(trade))

    def close(self, trade_id: PositionId, *, urgency: SupportsFloat | None = None) -> ClosedTrade:
        return self.changing(lambda: self.rest.close(trade_id, urgency=urgency), trade_id)

    def cancel(self, trade_id: PositionId) -> CanceledTrade:
        return self.changing(lambda: self.rest.cancel(trade_id))

    def cancel_all(self) -> Rows[CanceledTrade]:
        return self.changing(self.rest.cancel_all)

    def add_margin(
        self, trade_id: PositionId, amount: Sats, *, urgency: SupportsFloat | None = None
    ) -> Position:
        return self.changing(lambda: self.rest.add_margin(trade_id, amount, urgency=urgency), trade_id)

    def cash_in(self, trade_id: PositionId, amount: Sats) -> Position:
        return self.changing(lambda: self.rest.cash_in(trade_id, amount), trade_id)

    def set_stoploss(
        self,
        trade_id: PositionId,
        value: UsdPerBtc | None,
        *,
        trailing: Decimal | None = None,
        urgency: SupportsFloat | None = None,
    ) -> Position | OpenOrder:
        return self.changing(
            lambda: self.rest.set_stoploss(trade_id, value, trailing=trailing, urgency=urgency),
            trade_id,
        )

    def set_takeprofit(self, trade_id: PositionId, value: UsdPerBtc | None) -> Position | OpenOrder:
        return self.changing(lambda: self.rest.set_takeprofit(trade_id, value), trade_id)

    def _view(self, position_id: PositionId | None = None) -> View:
        return self._read(self._network, position_id)

    def _own_view(self, position_id: PositionId | None = None) -> View:
        """Return what the live view holds of the account, without the price."""
        return self._read(None, position_id)

    def _read(self, network: str | None, position_id: PositionId | None) -> View:
        return self._live.read(network, self._account_id, position_id) if self._live else View()

    def _fresh_price(self, view: View, max_age_s: float) -> Quote:
        if view.quote and self._is_fresh(view.quote, max_age_s):
            return view.quote
        quote = self.rest.quote(urgency=NOT_URGENT)
        if self._live:
            self._live.put_price(self._network, quote)
        return self._in_time(quote, max_age_s)

    def _fresh_positions(
        self, view: View, max_age_s: float, not_before: datetime | None
    ) -> PositionsSnapshot:
        held = view.positions
        if held and self._is_fresh(held, max_age_s, not_before):
            return held
        try:
            snapshot = self.rest.positions(urgency=NOT_URGENT)
        except TransientError:
            # It may have failed for half a minute: somebody else may have had more luck meanwhile.
            held = self._own_view().positions
            if held and self._is_fresh(held, max_age_s, not_before):
                return held
            raise
        if self._live:
            self._live.put_positions(self._account_id, snapshot)
        return self._in_time(snapshot, max_age_s)

    def _in_time(self, value: Read, max_age_s: float) -> Read:
        if not self._is_fresh(value, max_age_s):
            raise TransientError(
                f"LN Markets took longer to answer than the {max_age_s:g} s the answer may be old"
            )
        return value

    def _is_fresh(
        self,
        value: Quote | PositionsSnapshot | None,
        max_age_s: float,
        not_before: datetime | None = None,
    ) -> bool:
        return value is not None and is_fresh(
            value, max_age_s=max_age_s, now=self._now(), not_before=not_before
        )

    def changing(self, write: Callable[[], Value], position_id: PositionId | None = None) -> Value:
        """Carry a write out; positions that were seen before it ended are unknown afterwards.

        `position_id` is of the only position that it can change; None: nothing is known of that.
        """
        try:
            return write()
        finally:
            # Also after a failure: what came of it is unknown, or refused for a state unlike ours.
            if self._live:
                self._live.outdate(self._account_id, before=self._now(), position_id=position_id)
