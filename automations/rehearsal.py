"""What a guard buys for a position: how far the price may go against it, and what that costs.

The price goes steadily against the position, which is at rest now; the guard does all that its rule
wishes for and its gates let pass, as in the survival benchmark, with the money that there is. No time
is lost while the exchange answers, and nothing is traded elsewhere meanwhile. Between two prices at
which something can happen nothing does: the walk goes from one to the next.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Final

from automations.deciding import Guard
from automations.gates import Choice
from automations.models import Execution
from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    ClosePosition,
    Hold,
    OpenPosition,
    PositionAction,
    ReducePosition,
    SetStopLoss,
)
from automations.rules.aftermath import Aftermath, Circumstances, foresee
from automations.rules.memory import Memory
from automations.triggers import Direction
from exchange.formulas import Side
from exchange.money import MAX_PRICE, MIN_PRICE, TICK, Exact, Sats, UsdPerBtc, tick_above, tick_below
from exchange.position import Position, Regime

_APART_MS: Final = 24 * 60 * 60 * 1000
"""From one action to the next: no cooldown and no limit per minute stands in the way."""
_MOST_ACTS: Final = 500
"""Where small amounts are added again and again, the walk ends before the position does."""
_LEAST, _MOST = Fraction(1, 10), 3
"""So far, in markets, the walk goes at the most: a short can be kept at any price."""
_STATE: Final = Execution.State
_NONE: Final = Sats(0)


class How(StrEnum):
    LIQUIDATED = "liquidated"
    STOPPED = "stopped"
    """By a stop at the exchange that is none of the guard's."""
    CLOSED = "closed"
    """By the guard, or by the stop that it left at the exchange."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a position ends, and at which price at the latest."""

    how: How
    price: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What becomes of a position with its guard and without."""

    side: Side
    market: UsdPerBtc
    """From where the price went."""
    ends: End | None
    """None: nothing ended it as far as was looked."""
    without: End | None
    until: UsdPerBtc | None = None
    """As far as was looked, where the position runs there still; None: to its end, or it has none."""
    costs: Sats = _NONE
    """What the guard takes from the free balance by then, and the fees that it pays."""
    because: str | None = None
    """What stood in the guard's way at the last."""

    @property
    def survives_to(self) -> UsdPerBtc | None:
        """The last price at which the position surely runs still; None: any."""
        if self.ends is None:
            return self.until
        return UsdPerBtc(self.ends.price + self.side.sign * TICK)

    @property
    def is_more(self) -> bool:
        """Whether the position ends later than without the guard, or otherwise."""
        return self.ends != self.without


def rehearse(
    guard: Guard, position: Position, price: UsdPerBtc, memory: Memory, *, fee_rate: Exact
) -> Bought:
    """Walk until the position is closed, is liquidated, or no price is left to look at.

    Args:
        guard: its book says what there is to spend, and keeps what is done on the way.
        position: as it is now.
        price: the market, from which the walk begins.
        memory: what is remembered of the guard on the position.
        fee_rate: of the account's orders.
    """
    walk = _Walk(guard, position, price, memory, fee_rate=fee_rate)
    ends = walk.to_the_end()
    return replace(
        nothing(position, price, memory, because=walk.because),
        ends=ends,
        until=walk.until,
        costs=walk.costs,
    )


def nothing(position: Position, price: UsdPerBtc, memory: Memory, *, because: str | None) -> Bought:
    """Return what a guard buys that does nothing: its own stop goes, too."""
    own = _own_stops(position, memory)
    unguarded = replace(position, stoploss=None) if own else position
    without = _first_end(unguarded, own)
    return Bought(side=position.side, market=price, ends=without, without=without, because=because)


class _Walk:
    """One position on its way, at one price after the other."""

    def __init__(
        self,
        guard: Guard,
        position: Position,
        price: UsdPerBtc,
        memory: Memory,
        *,
        fee_rate: Exact,
    ) -> None:
        self.costs = Sats(0)
        self.because: str | None = None
        self.until: UsdPerBtc | None = None
        self._guard = guard
        self._position: Position = position
        self._price = price
        self._memory = memory
        self._own_stops = set(_own_stops(position, memory))
        self._fee_rate = fee_rate
        self._acts = 0
        self._farthest = Fraction(price) * (_LEAST if position.side is Side.BUY else _MOST)

    def to_the_end(self) -> End | None:
        """Return how the position ends; None where no price ends it, as far as one looks."""
        sign = self._position.side.sign
        while True:
            end = _first_end(self._position, self._own_stops)
            if end is not None and self._is_reached(end.price):
                return replace(end, price=self._price) if self._acts == 0 else end
            if self._closes():
                return End(how=How.CLOSED, price=self._price)
            following = self._following()
            if following is None:
                return None
            if self._acts >= _MOST_ACTS or sign * following < sign * self._farthest:
                self.until = self._before(following)
                return None
            self._price = following

    def _before(self, following: UsdPerBtc) -> UsdPerBtc:
        """Return the last price, as far as one looks, before the next at which something can happen."""
        if self._position.side is Side.BUY:
            return max(UsdPerBtc(following + TICK), tick_above(self._farthest))
        return min(UsdPerBtc(following - TICK), tick_below(self._farthest))

    def _is_reached(self, price: UsdPerBtc) -> bool:
        sign = self._position.side.sign
        return sign * self._price <= sign * price

    def _following(self) -> UsdPerBtc | None:
        """Return the next price at which something can happen."""
        side = self._position.side
        losing = Direction.FALLING if side is Side.BUY else Direction.RISING
        levels = self._guard.rule.levels(self._position, self._memory)
        found = [level.price for level in levels if level.direction is losing]
        end = _first_end(self._position, self._own_stops)
        if end is not None:
            found.append(end.price)
        ahead = [price for price in found if not self._is_reached(price) and price < MAX_PRICE]
        return max(ahead, key=lambda price: side.sign * price, default=None)

    def _closes(self) -> bool:
        """Let the guard do all that it does at this price; return whether nothing is left open."""
        refused: set[int | None] = set()
        while True:
            choice = self._chosen(refused)
            self.because = next((said.because for said in choice.refusals), self.because)
            if choice.action is None or self._acts >= _MOST_ACTS:
                return False
            assert not isinstance(choice.action, OpenPosition | CancelOrder)
            if not self._do(choice.action):
                refused.add(choice.action.step)
            elif isinstance(choice.action, ClosePosition):
                return True

    def _chosen(self, refused: Collection[int | None]) -> Choice:
        rule, position, now_ms = self._guard.rule, self._position, self._acts * _APART_MS
        still = rule.still_spent(position, self._price, self._memory)
        self._memory = replace(self._memory, spent=still)
        wishes = [
            wish
            for wish in rule.wishes(position, self._price, self._memory)
            if isinstance(wish, Hold) or wish.step not in refused
        ]
        return self._guard.choose(
            wishes, position, self._price, priced_ms=now_ms, known_ms=now_ms, now_ms=now_ms
        )

    def _do(self, action: PositionAction) -> bool:
        """Let the action happen; return whether the exchange takes it."""
        at = Circumstances(price=self._price, fee_rate=self._fee_rate, position=self._position)
        after, book, now_ms = foresee(action, at), self._guard.book, self._acts * _APART_MS
        self._acts += 1
        number = book.intend(self._position.id, action, self._price, now_ms)
        if after.refused:
            book.settle(number, _STATE.REJECTED, now_ms)
            self.because = after.refused
            return False
        book.settle(number, _STATE.CONFIRMED, now_ms)
        self._take(action, after)
        return True

    def _take(self, action: PositionAction, after: Aftermath) -> None:
        """Go on from what the action left, and with what is remembered of it."""
        if isinstance(action, AddMargin):
            self.costs = Sats(self.costs + action.amount)
        else:
            self._guard.book.free = Sats(self._guard.book.free + after.balance_change)
        if isinstance(action, SetStopLoss):
            self._own_stops.add(action.price)
            self._memory = replace(self._memory, stoploss=action.price, trailing=None, stop_is_own=True)
        if isinstance(action, ReducePosition):
            self.costs = Sats(self.costs + after.fees + max(0, -after.balance_change))
        if after.position is not None:
            self._position = self._continued(action, after.position)
        self._remember(action)

    def _continued(self, action: PositionAction, position: Position) -> Position:
        """Return the position under the id by which the book knows it; a new trade has a new margin."""
        isolated = position.regime is Regime.ISOLATED
        if not isinstance(action, ReducePosition) or not isolated:
            return position
        self._memory = replace(self._memory, stoploss=None, trailing=None, stop_is_own=False)
        return replace(position, id=self._position.id, entry_margin=position.margin)

    def _remember(self, action: PositionAction) -> None:
        """Let a step that acts once wait until the danger drew back."""
        waits = any(step.waits for step in self._guard.rule.steps if step.number == action.step)
        if waits and action.step is not None and not isinstance(action, SetStopLoss):
            self._memory = replace(self._memory, spent=self._memory.spent | {action.step})


def _own_stops(position: Position, memory: Memory) -> frozenset[UsdPerBtc]:
    """Return the stop that lies with the exchange, if the guard left it there."""
    if position.stoploss is None or not memory.stop_is_own or position.stoploss != memory.stoploss:
        return frozenset()
    return frozenset({position.stoploss})


def _first_end(position: Position, own_stops: AbstractSet[UsdPerBtc]) -> End | None:
    """Return where the exchange ends the position if nobody does anything; None: at no price."""
    sign, stop = position.side.sign, position.stoploss
    if stop is not None and sign * stop >= sign * position.liquidation:
        return End(how=How.CLOSED if stop in own_stops else How.STOPPED, price=stop)
    if not MIN_PRICE <= position.liquidation < MAX_PRICE:
        return None
    return End(how=How.LIQUIDATED, price=position.liquidation)
