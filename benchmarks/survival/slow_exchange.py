"""The paper exchange's engine behind a way that takes time: answers after D, five requests a second.

A request takes effect half of D after it left, and its answer is there after the other half.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final

from automations.rules.actions import (
    AddMargin,
    ClosePosition,
    PositionAction,
    SetStopLoss,
)
from benchmarks.survival.cases import Case
from benchmarks.survival.paths import PricePath, halves_of
from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.ratelimit import RENEWED_S
from exchange.simulator.engine.account import TRADING_SCOPES, identity
from exchange.simulator.engine.cross import NewCrossOrder
from exchange.simulator.engine.opening import NewTrade
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.rules import Rules
from exchange.simulator.engine.trade import OrderType, State, Trade
from exchange.simulator.engine.venue import Venue

EACH_MS: Final = 200
"""Between two signed requests of one key."""
PASSED_ON_MS: Final = round(RENEWED_S * 1000 / 2)
"""Whoever waits next finds out so late, on average, that the one before had nothing to send."""
QUANTITY: Final = Usd(10_000)
_RICH: Final = Sats(100_000_000_000)


class Agenda:
    """What is to happen when, in milliseconds; at one moment in the order of the asking."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, at_ms: int, what: Callable[[], None]) -> None:
        heappush(self._due, (at_ms, next(self._numbers), what))

    @property
    def next_ms(self) -> int | None:
        return self._due[0][0] if self._due else None

    def do_next(self) -> int:
        """Do what is due first, and return when that was."""
        at_ms, _, what = heappop(self._due)
        what()
        return at_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for a write: the position as it is then, or why not."""

    refused: str | None = None
    position: Position | None = None
    """None where it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a position ended."""

    how: str
    """`liquidated`, `stopped` (by the exchange) or `closed` (by the guard)."""
    at_ms: int


class SlowExchange:
    """One account on one market; the price is moved along the path, in simulated time."""

    def __init__(self, case: Case, path: PricePath) -> None:
        ids = count(1)
        self.path = path
        self.now_ms = 0
        self.agenda = Agenda()
        self._delay_ms = case.answer_ms // 2
        self.answer_ms = case.answer_ms
        self._venue = Venue(
            price=path.price(0),
            half_spread=Decimal("0.5"),
            new_id=lambda: f"{next(ids):04d}",
            now_ms=0,
            # A stop executes at the price that crossed it: beyond liquidation it saves nothing.
            rules=Rules(slippage=True),
        )
        self._account = self._venue.add_account(
            identity(1, 0), balance=_RICH, scopes=TRADING_SCOPES, now_ms=0
        )
        self._slot_ms = 0
        self._waiting: list[tuple[Callable[[], float], int, Callable[[], bool]]] = []
        self._turns = count()
        self.first = tuple(self._open(case))
        self._account.wallet.balance = self.free_at_first = _free(case, self.first)
        self._closed: set[str] = set()
        self._cross_fees = 0
        self.writes = 0

    def _open(self, case: Case) -> list[Position]:
        if case.regime is Regime.CROSS:
            return [self._open_cross(case)]
        return [self._open_isolated(case.side, leverage) for leverage in case.leverages]

    def _open_isolated(self, side: Side, leverage: int) -> Position:
        order = NewTrade(
            type=OrderType.MARKET,
            side=side,
            leverage=Decimal(leverage),
            quantity=QUANTITY,
            margin=None,
            price=None,
            stoploss=Decimal(0),
            trailing=False,
            takeprofit=Decimal(0),
            client_id=None,
        )
        return position_of(self._account.isolated.create(order, 0))

    def _open_cross(self, case: Case) -> Position:
        (leverage,), book = case.leverages, self._account.cross
        price = self._venue.market.execution_price(case.side, QUANTITY)
        margin = formulas.margin_for(QUANTITY, price, leverage)
        fees = formulas.fee(QUANTITY, price, formulas.FIRST_TIER_FEE_RATE)
        kept = formulas.cross_maintenance(QUANTITY, price)
        book.deposit(Sats(margin + 2 * fees + kept), 0)
        book.set_leverage(leverage, 0)
        book.order(NewCrossOrder(side=case.side, quantity=QUANTITY, price=None, client_id=None), 0)
        found = self.position(CROSS)
        assert found is not None
        return found

    @property
    def free(self) -> Sats:
        return self._account.wallet.balance

    @property
    def fees(self) -> int:
        """Sats paid for closing, without what liquidations took."""
        ended = self._account.isolated.listed(State.CLOSED)
        isolated = sum(trade.closing_fee for trade in ended if _how(trade) != "liquidated")
        return isolated + self._cross_fees

    def position(self, position_id: PositionId) -> Position | None:
        """Return the position as it truly is now; None once it ended."""
        if position_id == CROSS:
            return self._cross()
        running = self._account.isolated.listed(State.RUNNING)
        return next((position_of(trade) for trade in running if trade.id == position_id), None)

    def end_of(self, position_id: PositionId) -> End | None:
        """Return how the position ended; None while it runs."""
        if position_id == CROSS:
            return self._end_of_cross()
        ended = self._account.isolated.listed(State.CLOSED)
        trade = next((each for each in ended if each.id == position_id), None)
        if trade is None:
            return None
        how = "closed" if position_id in self._closed else _how(trade)
        return End(how=how, at_ms=trade.closed_at_ms or 0)

    def move(self, tick: int) -> None:
        """Let the price be that of the tick, after it was that of the tick before."""
        self.now_ms = self.path.times_ms[tick]
        if tick:
            self._venue.move(self.path.price(tick - 1), self.now_ms)
        self._venue.move(self.path.price(tick), self.now_ms)
        self._venue.take_events()

    def take_turn(
        self, nearness: Callable[[], float], patience_ms: int, come: Callable[[], bool]
    ) -> bool | None:
        """Take the turn of a write: True at once, False with `come` later, None where that is too late.

        Of those that wait the nearest to liquidation goes first, by the price of then. `come` returns
        whether it takes it.
        """
        mine = nearness()
        before = sum(each[0]() <= mine for each in self._waiting)
        wait_ms = max(0, self._slot_ms - self.now_ms) + before * EACH_MS
        if wait_ms > patience_ms:
            return None
        if not wait_ms:
            self._slot_ms = self.now_ms + EACH_MS
            return True
        self._wait(nearness, come)
        return False

    def write(self, action: PositionAction, answered: Callable[[Answer], None]) -> None:
        """Send a write, whose turn has been taken; `answered` is told what came of it."""
        self.agenda.at(self.now_ms + self._delay_ms, lambda: self._take(action, answered))

    def read(self, position_id: PositionId, answered: Callable[[Answer], None]) -> None:
        """Read a position, after all writes that wait.

        What is answered is how it stood half of the answering time before.
        """

        def taken() -> None:
            answer = Answer(position=self.position(position_id))
            later_ms = self.now_ms + self.answer_ms - self._delay_ms
            self.agenda.at(later_ms, lambda: answered(answer))

        def leaves() -> bool:
            self.agenda.at(self.now_ms + self._delay_ms, taken)
            return True

        self._wait(lambda: inf, leaves)

    def _wait(self, nearness: Callable[[], float], come: Callable[[], bool]) -> None:
        self._waiting.append((nearness, next(self._turns), come))
        self.agenda.at(max(self.now_ms, self._slot_ms), self._give_turn)

    def _give_turn(self) -> None:
        if not self._waiting:
            return
        if self.now_ms < self._slot_ms:
            self.agenda.at(self._slot_ms, self._give_turn)
            return
        first = min(self._waiting, key=lambda each: (each[0](), each[1]))
        self._waiting.remove(first)
        self._slot_ms = self.now_ms + (EACH_MS if first[2]() else PASSED_ON_MS)
        self.agenda.at(self._slot_ms, self._give_turn)

    def _take(self, action: PositionAction, answered: Callable[[Answer], None]) -> None:
        """Do what was asked for, and let the answer come."""
        self.writes += 1
        try:
            self._do(action)
            answer = Answer(position=self.position(action.position_id))
        except Refused as refused:
            answer = Answer(refused=str(refused), position=self.position(action.position_id))
        self._venue.take_events()
        later_ms = self.now_ms + self.answer_ms - self._delay_ms
        self.agenda.at(later_ms, lambda: answered(answer))

    def _do(self, action: PositionAction) -> None:
        isolated, cross = self._account.isolated, self._account.cross
        on_cross = action.position_id == CROSS
        match action:
            case AddMargin(position_id=_, amount=amount) if on_cross:
                cross.deposit(amount, self.now_ms)
            case AddMargin(position_id=trade_id, amount=amount):
                isolated.add_margin(trade_id, amount)
            case ClosePosition() if on_cross:
                before = cross.position.trading_fees
                cross.close(self.now_ms)
                self._cross_fees += cross.position.trading_fees - before
            case ClosePosition(position_id=trade_id):
                isolated.close(trade_id, self.now_ms)
                self._closed.add(trade_id)
            case SetStopLoss(position_id=trade_id, price=price):
                isolated.set_stoploss(trade_id, price, trailing=False)
            case _:
                raise NotImplementedError(f"no preset asks for {action.does}")

    def _cross(self) -> Position | None:
        held = self._account.cross.position
        if held.entry is None or held.liquidation is None:
            return None
        return Position(
            id=CROSS,
            regime=Regime.CROSS,
            side=held.side,
            quantity=held.size,
            entry=held.entry,
            margin=Sats(held.margin - held.maintenance_margin),
            maintenance_margin=held.maintenance_margin,
            liquidation=held.liquidation,
            leverage=Decimal(held.leverage),
            stoploss=None,
            takeprofit=None,
            filled_at=None,
            client_id=None,
            entry_margin=held.running_margin,
        )

    def _end_of_cross(self) -> End | None:
        if self._account.cross.position.quantity:
            return None
        last = self._account.cross.filled_orders()[0]
        how = "liquidated" if last.type.value == "liquidation" else "closed"
        return End(how=how, at_ms=last.filled_at_ms or 0)

    def levels(self) -> list[tuple[int, int]]:
        """Return where the exchange ends a position: the sign of its side, and half dollars."""
        found = []
        for trade in self._account.isolated.listed(State.RUNNING):
            found.append((trade.side.sign, halves_of(trade.liquidation)))
            if trade.stoploss is not None:
                found.append((trade.side.sign, halves_of(trade.stoploss)))
        cross = self._cross()
        if cross is not None:
            found.append((cross.side.sign, halves_of(cross.liquidation)))
        return found


def _how(trade: Trade) -> str:
    """Return how the exchange ended a trade: a stop beyond liquidation has saved nothing."""
    assert trade.exit_price is not None
    sign = trade.side.sign
    beyond = sign * trade.exit_price <= sign * trade.liquidation
    return "liquidated" if beyond else "stopped"


def position_of(trade: Trade) -> Position:
    """Return a running trade as our client reads it."""
    return Position(
        id=PositionId(trade.id),
        side=trade.side,
        quantity=trade.quantity,
        entry=trade.price,
        margin=trade.margin,
        maintenance_margin=trade.maintenance_margin,
        liquidation=trade.liquidation,
        leverage=Decimal(trade.leverage.numerator) / Decimal(trade.leverage.denominator),
        stoploss=trade.stoploss,
        takeprofit=trade.takeprofit,
        filled_at=None,
        client_id=trade.client_id,
        entry_margin=trade.entry_margin,
    )


def _free(case: Case, positions: tuple[Position, ...]) -> Sats:
    if case.money is None:
        return _RICH
    return Sats(int(case.money * sum(position.margin for position in positions)))
