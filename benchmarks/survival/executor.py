"""The best executors of a ladder that know nothing of the future.

At every tick from the first step on one does what the steps reached say. It waits for no cooldown, no
answer and no reading, and computes in no time. What binds it is what binds everybody: the money, the
exchange's answering time, and its requests a second. A patient one adds first, counts what is on its
way as landed, and so closes only where nothing more can be added; a cautious one closes as soon as the
position, as it is, reached the closing step.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Final, assert_never

from automations.rules.margin_guard import (
    AddFixed,
    AddShare,
    AddToReach,
    Close,
    GuardConfig,
    Reduce,
    Step,
    Tell,
    margin_missing,
)
from automations.rules.metric import Metric
from benchmarks.survival.paths import PricePath, halves_of, price_of
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, Regime

_BEYOND: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What binds every executor alike."""

    rule: GuardConfig
    budgets: Sequence[Sats]
    """For each position."""
    money: Sats
    """For all of them together."""
    delay_ms: int
    """From a tick to the effect of what is sent for it."""
    each_ms: int
    """Between two requests; 0: as many as it likes."""


class Executor:
    """All positions of one account; they are on one side of the market."""

    def __init__(
        self, positions: Sequence[Position], path: PricePath, terms: Terms, *, cautious: bool
    ) -> None:
        self._path = path
        self._terms = terms
        self._sign = positions[0].side.sign
        self._money = int(terms.money)
        self._slot_ms = 0
        self._ones = [
            _One(position, terms.rule, budget, cautious=cautious)
            for position, budget in zip(positions, terms.budgets, strict=True)
        ]

    def saved(self) -> list[bool]:
        """Go through the ticks; return which positions were never liquidated."""
        times, sign = self._path.times_ms, self._sign
        stop_from_ms = times[0] + self._terms.delay_ms
        # Prices with the sign of the side: less is worse, for shorts, too.
        worse, due_ms = self._nearest(), _BEYOND
        for tick, half in enumerate(self._path.halves):
            at, now_ms = sign * half, times[tick]
            if at > worse and now_ms <= due_ms:
                continue
            running = [one for one in self._ones if one.saved is None]
            if not running:
                break
            for one in running:
                one.take(now_ms, at, stop_is_there=now_ms > stop_from_ms)
            self._act(tick, at)
            worse, due_ms = self._nearest(), min((one.due_ms for one in running), default=_BEYOND)
        return [one.saved is not False for one in self._ones]

    def _nearest(self) -> int:
        return max((one.nearest for one in self._ones if one.saved is None), default=-_BEYOND)

    def _act(self, tick: int, at: int) -> None:
        """Send what the steps ask for, for the position nearest to liquidation first."""
        times = self._path.times_ms
        now_ms = times[tick]
        next_ms = times[tick + 1] if tick + 1 < len(times) else _BEYOND
        reached = [one for one in self._ones if one.saved is None and at <= one.acts_at]
        for one in sorted(reached, key=lambda one: one.dies_at, reverse=True):
            leaves_ms = max(now_ms, self._slot_ms)
            if leaves_ms >= next_ms:
                return  # the next tick says more about what to send
            spent = one.act(price_of(abs(at)), leaves_ms, self._terms.delay_ms, self._money)
            if spent is not None:
                self._money -= spent
                self._slot_ms = leaves_ms + self._terms.each_ms


class _One:
    """One position, as it is and as it will be once all that was sent has landed."""

    def __init__(self, position: Position, rule: GuardConfig, budget: Sats, *, cautious: bool) -> None:
        self._rule = rule
        self._cautious = cautious
        self._left = int(budget)
        self._landing: deque[tuple[int, Position]] = deque()
        self._moving: deque[tuple[int, Position]] = deque()
        """When the stop follows which position."""
        self._closes_ms: int | None = None
        self._is = self._wanted = position
        self._stops_at = _stop(position, rule)
        self.saved: bool | None = None
        """None while nothing is decided."""
        self._stand(position)

    def _stand(self, position: Position) -> None:
        self._is = position
        self.dies_at = position.side.sign * halves_of(position.liquidation)
        self._look_on()

    def _look_on(self) -> None:
        """Wait for the next price at which something may be sent."""
        self.acts_at = next_level(self._wanted, self._rule)
        if self._cautious:
            self.acts_at = max(self.acts_at, next_level(self._is, self._rule))

    @property
    def nearest(self) -> int:
        return max(self.acts_at, self.dies_at, self._stops_at)

    @property
    def due_ms(self) -> int:
        """When the next of what is on its way takes effect."""
        due = [self._landing[0][0]] if self._landing else []
        due += [self._moving[0][0]] if self._moving else []
        return min([*due, self._closes_ms or _BEYOND])

    def take(self, now_ms: int, at: int, *, stop_is_there: bool) -> None:
        """Let take effect what was due before this tick, then the tick."""
        while self._landing and self._landing[0][0] < now_ms:
            self._stand(self._landing.popleft()[1])
        while self._moving and self._moving[0][0] < now_ms:
            self._stops_at = _stop(self._moving.popleft()[1], self._rule)
        if self._closes_ms is not None and self._closes_ms < now_ms:
            self.saved = True
        elif at <= self.dies_at:
            self.saved = False
        elif stop_is_there and at <= self._stops_at:
            self.saved = True

    def act(self, price: UsdPerBtc, leaves_ms: int, delay_ms: int, money: int) -> int | None:
        """Send one request; return the sats it takes, None where there is nothing to send."""
        if self._cautious and self._closes(self._is, price, leaves_ms + delay_ms):
            return 0
        for step in self._rule.steps:
            if self._reached(self._wanted, step, price):
                asked = _asked(self._wanted, self._rule.metric, step, price)
                amount = min(asked, self._left, money, self._wanted.largest_top_up)
                if amount > 0:
                    self._add(Sats(amount), leaves_ms, delay_ms)
                    return amount
        # Nothing more can come of it at this price, whatever the next ticks say.
        self.acts_at -= 1
        return 0 if self._closes(self._wanted, price, leaves_ms + delay_ms) else None

    def _closes(self, position: Position, price: UsdPerBtc, lands_ms: int) -> bool:
        if self._closes_ms is not None or not any(
            isinstance(step.response, Close) and self._reached(position, step, price)
            for step in self._rule.steps
        ):
            return False
        self._closes_ms = lands_ms
        return True

    def _add(self, amount: Sats, leaves_ms: int, delay_ms: int) -> None:
        self._left -= amount
        self._wanted = self._wanted.with_margin_added(amount)
        self._landing.append((leaves_ms + delay_ms, self._wanted))
        # The cautious one waits for the answer, then has the stop moved.
        moves_ms = leaves_ms + delay_ms * (3 if self._cautious else 1)
        self._moving.append((moves_ms, self._wanted))
        self._look_on()

    def _reached(self, position: Position, step: Step, price: UsdPerBtc) -> bool:
        return self._rule.reached(step, self._rule.metric.at(position, price))


def _asked(position: Position, metric: Metric, step: Step, price: UsdPerBtc) -> int:
    """Return the sats that a step asks for."""
    match step.response:
        case AddFixed(amount=amount):
            return amount
        case AddShare(share=share):
            return floor(position.margin * share)
        case AddToReach(target=target):
            return margin_missing(position, price, metric, target)
        case Close() | Reduce() | Tell():
            return 0
        case never:
            assert_never(never)


def next_level(position: Position, rule: GuardConfig) -> int:
    """Return the half dollars, with the side's sign, at which the first of the steps is reached."""
    return max(_level(position, rule.metric, step.threshold) for step in rule.steps)


def _level(position: Position, metric: Metric, threshold: Fraction) -> int:
    price = _price_at(position, metric, threshold)
    if price is None:
        return _BEYOND  # only a margin ratio has no price: then every price is beyond it
    return floor(price * 2) if position.side.sign > 0 else -ceil(price * 2)


def _price_at(position: Position, metric: Metric, threshold: Fraction) -> Fraction | None:
    match metric:
        case Metric.MARGIN_RATIO:
            return position.price_at_margin_ratio(threshold)
        case Metric.MARGIN_USED:
            return position.price_at_margin_used(threshold)
        case Metric.LIQUIDATION_DISTANCE:
            return position.price_at_liquidation_distance(threshold)
        case never:
            assert_never(never)


def _stop(position: Position, rule: GuardConfig) -> int:
    """Return the half dollars, with the side's sign, of the stop that the guard leaves there."""
    closing = [step.threshold for step in rule.steps if isinstance(step.response, Close)]
    if not rule.backstop or not closing or position.regime is not Regime.ISOLATED:
        return -_BEYOND
    return max(_level(position, rule.metric, threshold) for threshold in closing)
