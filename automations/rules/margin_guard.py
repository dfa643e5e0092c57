"""Margin Guard: keep a position from liquidation, by adding margin, reducing or closing it in time."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import assert_never

from automations.rules.actions import (
    AddMargin,
    ClosePosition,
    Decision,
    Hold,
    Notify,
    SetStopLoss,
)
from automations.rules.memory import NOTHING, Memory
from automations.rules.metric import Metric
from automations.rules.owners_hand import changed_by_hand
from automations.rules.reduction import reduction
from automations.rules.scope import Scope
from automations.triggers import Direction, Level
from exchange import formulas
from exchange.formulas import Side
from exchange.money import MAX_PRICE, TICK, Exact, Sats, UsdPerBtc, tick_above, tick_below
from exchange.position import Position, Regime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Only tell the owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFixed:
    """Add so many sats each time."""

    amount: Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class AddShare:
    """Add this share of the position's present margin."""

    share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class AddToReach:
    """Add just enough to bring the metric to `target`."""

    target: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce:
    """Close this share of the position."""

    share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close the position."""


Response = Tell | AddFixed | AddShare | AddToReach | Reduce | Close


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rung of the ladder: at this threshold, respond. Thresholds are shares: 0.5 is one half."""

    number: int
    """Tells it from the other steps, for good: what happened before is remembered under it."""
    threshold: Fraction
    response: Response
    hysteresis: Fraction | None = None
    """How far the metric must draw back from the threshold before the step may act again; None: it may
    act again as soon as its rest is over, except that nobody is told twice of one danger."""

    @property
    def waits(self) -> bool:
        """Whether it acts once and then waits until the danger drew back."""
        return self.hysteresis is not None or isinstance(self.response, Tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig(Scope):
    """When to act on which positions, and how.

    Raises:
        ValueError: a threshold is not within ]0, 1], a target or a return lies on the dangerous side,
            or two steps have one threshold.
    """

    metric: Metric
    steps: tuple[Step, ...]
    backstop: bool = False
    """Leave a stop with the exchange where the closing step acts, for when we do not run."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a guard needs at least one step")
        for step in self.steps:
            self._check(step)
        if len({step.threshold for step in self.steps}) < len(self.steps):
            raise ValueError("two steps must not have the same threshold")

    def _check(self, step: Step) -> None:
        if not 0 < step.threshold <= 1 or (self.metric.shrinks and step.threshold == 1):
            raise ValueError("the threshold must be more than 0 % and at most 100 % (distance: less)")
        match step.response:
            case AddFixed(amount=amount) if amount <= 0:
                raise ValueError("the amount must be at least 1 sat")
            case AddShare(share=share) if share <= 0:
                raise ValueError("the share must be more than 0 %")
            case Reduce(share=share) if not 0 < share < 1:
                raise ValueError("the part to close must be more than 0 % and less than 100 %")
            case AddToReach(target=target) if not self._is_safer(target, step.threshold):
                raise ValueError("the target must lie on the safe side of the threshold, above 0 %")
            case _:
                pass
        back = self._returned(step)
        if back is not None and not self._is_safer(back, step.threshold):
            raise ValueError("the hysteresis must be more than 0 % and leave the metric room to return")

    def _is_safer(self, value: Fraction, threshold: Fraction) -> bool:
        return threshold < value < 1 if self.metric.shrinks else 0 < value < threshold

    def _returned(self, step: Step) -> Fraction | None:
        """Return the value at which a step that acted may act again."""
        if step.hysteresis is None:
            return None
        return step.threshold + (step.hysteresis if self.metric.shrinks else -step.hysteresis)

    def with_thresholds(self, thresholds: dict[int, Fraction]) -> "GuardConfig":
        """Return the same guard with other thresholds for some steps, as one position may have."""
        steps = tuple(
            replace(step, threshold=thresholds.get(step.number, step.threshold)) for step in self.steps
        )
        return replace(self, steps=steps)

    def reached(self, step: Step, value: Fraction) -> bool:
        """Whether the threshold is reached; being exactly on it counts."""
        return self.metric.has_reached(step.threshold, value)

    def returned(self, step: Step, value: Fraction) -> bool:
        """Whether the danger drew back far enough for a step that acted to act again."""
        back = self._returned(step)
        if back is None:
            return not (step.waits and self.reached(step, value))
        return value >= back if self.metric.shrinks else value <= back

    def still_spent(self, position: Position, price: UsdPerBtc, memory: Memory) -> frozenset[int]:
        """Return which of the spent steps still wait for the danger to draw back."""
        value = self.metric.at(position, price)
        return frozenset(
            step.number
            for step in self.steps
            if step.number in memory.spent and not self.returned(step, value)
        )

    def decide(self, position: Position, price: UsdPerBtc, memory: Memory = NOTHING) -> Decision:
        """Return the wish that counts most: the first that changes something, else the first."""
        wishes = self.wishes(position, price, memory)
        return next((wish for wish in wishes if not isinstance(wish, Notify | Hold)), wishes[0])

    def wishes(
        self, position: Position, price: UsdPerBtc, memory: Memory = NOTHING
    ) -> tuple[Decision, ...]:
        """Return what to try about one position at one price, in this order; never empty.

        First what only tells, for that stands before nothing else; then the steps reached, the most
        dangerous first: of these the first that may act acts. A step that cannot is a `Hold` with its
        word. Last comes the stop that is to lie with the exchange. Where there is nothing to do, the
        answer is one `Hold` that says so.
        """
        value = self.metric.at(position, price)
        spent = self.still_spent(position, price, memory)
        reached = sorted((step for step in self.steps if self.reached(step, value)), key=self._danger)
        found = [
            _respond(position, price, self.metric, step, self._why(step, value, price))
            for step in reached
            if step.number not in spent
        ]
        found.sort(key=lambda wish: not isinstance(wish, Notify))
        if not any(isinstance(step.response, Close) for step in reached):
            found += self._backstop(position, price, memory)
        return tuple(found) or (Hold(reason=self._nothing_to_do(reached, value, price)),)

    def _why(self, step: Step, value: Fraction, price: UsdPerBtc) -> str:
        return f"{_named(self.metric, value)} reached {_percent(step.threshold)} at {price}"

    def _nothing_to_do(self, spent: list[Step], value: Fraction, price: UsdPerBtc) -> str:
        if spent:
            return f"{self._why(spent[0], value, price)}, where it acted already"
        nearest = _by_danger(self)[0]
        return f"{_named(self.metric, value)} has not reached {_percent(nearest.threshold)}"

    def _backstop(self, position: Position, price: UsdPerBtc, memory: Memory) -> list[SetStopLoss]:
        """Return the stop to leave with the exchange, if there is to be one and it lies elsewhere.

        A stop that is not ours stays as its owner set it: the hand wins.
        """
        found = self.backstop_level(position)
        if found is None or not _is_ours(position, memory) or position.stoploss == found[1]:
            return []
        step, level = found
        if not formulas.stoploss_fits(
            position.side, level, liquidation=position.liquidation, reference=price
        ):
            return []
        why = f"closing at {_named(self.metric, step.threshold)} lies at {level}"
        return [SetStopLoss(position_id=position.id, price=level, why=why, step=step.number)]

    def backstop_level(self, position: Position) -> tuple[Step, UsdPerBtc] | None:
        """Return the closing step and where a stop at the exchange would do its work (6.10).

        None where there is no such step, on the cross position, and where the owner does not want it.
        """
        closing = [step for step in self.steps if isinstance(step.response, Close)]
        if not self.backstop or not closing or position.regime is not Regime.ISOLATED:
            return None
        step = max(closing, key=self._danger)  # the first of them on the way to liquidation
        level = _level(position, self.metric, step.threshold)
        if level is None or level.price == MAX_PRICE:
            return None
        sign = position.side.sign
        nearest = UsdPerBtc(position.liquidation + sign * TICK)
        return step, max(level.price, nearest, key=lambda it: sign * it)

    def own_stop(self, position: Position, memory: Memory = NOTHING) -> UsdPerBtc | None:
        """Return where the guard's stop lies with the exchange, or is to; None: it leaves none."""
        found = self.backstop_level(position)
        return found[1] if found and _is_ours(position, memory) else None

    def _danger(self, step: Step) -> Fraction:
        """Order steps with the most dangerous first."""
        return step.threshold if self.metric.shrinks else -step.threshold

    def levels(self, position: Position, memory: Memory = NOTHING) -> tuple[Level, ...]:
        """Return the prices at which a look is worth while.

        For a step that may act: where `decide` begins to, on the grid and on the acting side. For one
        that waits: where it may act again, from the other side. While the exchange does not hold the
        stop that it should, every price is one.
        """
        found: list[Level | None] = []
        missing = self.backstop_level(position)
        if missing and _is_ours(position, memory) and position.stoploss != missing[1]:
            found.append(Level(price=MAX_PRICE, direction=Direction.FALLING))
        for step in self.steps:
            if step.number in memory.spent and step.waits:
                back = self._returned(step)
                returning_to = step.threshold if back is None else back
                found.append(_level(position, self.metric, returning_to, returning=True))
            else:
                found.append(_level(position, self.metric, step.threshold))
        return tuple(level for level in found if level is not None)


def _is_ours(position: Position, memory: Memory) -> bool:
    """Whether the guard may set the stop: there is none and nobody removed it, or it set this one."""
    if memory.stoploss is None or not memory.stop_is_own:
        return position.stoploss is None and position.trailing is None
    return changed_by_hand(position, replace(memory, takeprofit=None)) is None


def _by_danger(config: GuardConfig) -> list[Step]:
    """Return the steps with the one that is reached first in front."""
    return sorted(config.steps, key=lambda step: step.threshold, reverse=config.metric.shrinks)


def _level(
    position: Position, metric: Metric, value: Fraction, *, returning: bool = False
) -> Level | None:
    """Return where the metric reaches `value`; `returning`: where it comes back to it from danger."""
    price = _price_at(position, metric, value)
    falls = (position.side is Side.BUY) is not returning
    if falls:
        # Only a margin ratio below what any profit can reach has no price: then every price acts.
        falling_to = MAX_PRICE if price is None else min(tick_below(price), MAX_PRICE)
        return Level(price=falling_to, direction=Direction.FALLING)
    if price is None or price > MAX_PRICE:
        return None
    return Level(price=tick_above(price), direction=Direction.RISING)


def _price_at(position: Position, metric: Metric, value: Fraction) -> Fraction | None:
    match metric:
        case Metric.MARGIN_RATIO:
            return position.price_at_margin_ratio(value)
        case Metric.MARGIN_USED:
            return position.price_at_margin_used(value)
        case Metric.LIQUIDATION_DISTANCE:
            return position.price_at_liquidation_distance(value)
        case never:
            assert_never(never)


def _respond(position: Position, price: UsdPerBtc, metric: Metric, step: Step, why: str) -> Decision:
    match step.response:
        case Tell():
            return Notify(position_id=position.id, why=why, step=step.number)
        case Close():
            return ClosePosition(position_id=position.id, why=why, step=step.number)
        case Reduce(share=share):
            return reduction(
                position,
                share,
                price,
                metric=metric,
                threshold=step.threshold,
                step=step.number,
                why=why,
            )
        case AddFixed(amount=amount):
            return _add(position, amount, step, why)
        case AddShare(share=share):
            return _add_share(position, share, step, why)
        case AddToReach(target=target):
            return _add(position, margin_missing(position, price, metric, target), step, why)
        case never:
            assert_never(never)


def margin_missing(position: Position, price: UsdPerBtc, metric: Metric, target: Fraction) -> int:
    """Return the sats that bring the metric to `target` at `price`; 0 or less: it is there."""
    match metric:
        case Metric.MARGIN_RATIO:
            return position.margin_to_reach_ratio(target, price)
        case Metric.MARGIN_USED:
            return position.margin_to_reach_used(target, price)
        case Metric.LIQUIDATION_DISTANCE:
            # The exchange shows liquidation on the grid: aim at the next tick on the safe side.
            wanted = Fraction(price) * (1 - position.side.sign * target)
            is_long = position.side is Side.BUY
            return position.margin_to_reach_liquidation(
                tick_below(wanted) if is_long else tick_above(wanted)
            )
        case never:
            assert_never(never)


def _add_share(position: Position, share: Fraction, step: Step, why: str) -> Decision:
    amount = floor(position.margin * share)
    if amount > 0:
        return _add(position, amount, step, why)
    said = f"{why}, but {_percent(share)} of its margin of {position.margin:,} sats is less than 1 sat"
    return Hold(reason=said, word="too_small", step=step.number)


def _add(position: Position, wanted: int, step: Step, why: str) -> Decision:
    if wanted <= 0:
        said = f"{why}, but less than 1 sat is missing to its target"
        return Hold(reason=said, word="too_small", step=step.number)
    most = position.largest_top_up
    if most <= 0:
        said = f"{why}, but the leverage is already 1: no more margin can be added"
        return Hold(reason=said, word="leverage_1", step=step.number)
    asked = AddMargin(position_id=position.id, amount=Sats(wanted), why=why, step=step.number)
    return asked.limited_to(most, because="the leverage would fall below 1")


def _named(metric: Metric, value: Exact) -> str:
    return f"{metric.value.replace('_', ' ')} {_percent(Fraction(value))}"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:.2f} %"
