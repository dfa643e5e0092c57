"""Margin Guard: keep a position from liquidation, by adding margin or by closing it in time."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import assert_never

from automations.rules.actions import AddMargin, ClosePosition, Decision, Hold
from automations.triggers import Direction, Level
from exchange.formulas import Side
from exchange.money import MAX_PRICE, Exact, Sats, UsdPerBtc, tick_above, tick_below
from exchange.position import Position


class Metric(StrEnum):
    """How near liquidation is."""

    MARGIN_RATIO = "margin_ratio"
    """The exchange's own: maintenance margin over what is left. It moves when it is almost too late."""
    MARGIN_USED = "margin_used"
    """The loss as a share of the margin: 0 at entry, 1 at liquidation."""
    LIQUIDATION_DISTANCE = "liquidation_distance"
    """The way to liquidation as a share of the price: it shrinks to 0."""

    @property
    def shrinks(self) -> bool:
        """Whether danger makes the metric smaller."""
        return self is Metric.LIQUIDATION_DISTANCE

    def at(self, position: Position, price: Exact) -> Fraction:
        match self:
            case Metric.MARGIN_RATIO:
                return position.margin_ratio_at(price)
            case Metric.MARGIN_USED:
                return position.margin_used_at(price)
            case Metric.LIQUIDATION_DISTANCE:
                return position.liquidation_distance_at(price)
            case never:
                assert_never(never)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFixed:
    """Add so many sats each time."""

    amount: Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class AddToReach:
    """Add just enough to bring the metric to `target`."""

    target: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close the position."""


Response = AddFixed | AddToReach | Close


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """When to act and how. Thresholds and targets are shares: 0.5 is one half.

    Raises:
        ValueError: the threshold is not within ]0, 1], or a target lies on the dangerous side of it.
    """

    metric: Metric
    threshold: Fraction
    response: Response

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1 or (self.metric.shrinks and self.threshold == 1):
            raise ValueError("the threshold must be more than 0 % and at most 100 % (distance: less)")
        if isinstance(self.response, AddFixed) and self.response.amount <= 0:
            raise ValueError("the amount must be at least 1 sat")
        if isinstance(self.response, AddToReach):
            self._check_target(self.response.target)

    def _check_target(self, target: Fraction) -> None:
        if self.metric.shrinks:
            if not self.threshold < target < 1:
                raise ValueError("the target must be a larger distance than the threshold, below 100 %")
        elif not 0 < target < self.threshold:
            raise ValueError("the target must be below the threshold and above 0 %")

    def reached(self, metric_value: Fraction) -> bool:
        """Whether the threshold is reached; being exactly on it counts."""
        if self.metric.shrinks:
            return metric_value <= self.threshold
        return metric_value >= self.threshold


def decide(position: Position, price: UsdPerBtc, config: GuardConfig) -> Decision:
    """Return what to do about one position at one price."""
    value = config.metric.at(position, price)
    if not config.reached(value):
        return Hold(
            reason=f"{_named(config.metric, value)} has not reached {_percent(config.threshold)}"
        )
    why = f"{_named(config.metric, value)} reached {_percent(config.threshold)} at {price}"
    match config.response:
        case Close():
            return ClosePosition(position_id=position.id, why=why)
        case AddFixed(amount=amount):
            return _add(position, amount, why)
        case AddToReach(target=target):
            return _add(position, _needed(position, price, config.metric, target), why)
        case never:
            assert_never(never)


def level(position: Position, config: GuardConfig) -> Level | None:
    """Return the price at which `decide` begins to act; None where no price makes it act.

    On the grid, on the acting side: at the level and beyond `decide` acts, one tick before it does not.
    """
    price = _threshold_price(position, config)
    if position.side is Side.BUY:
        # Only a margin ratio below what any profit can reach has no price: then every price acts.
        falling_to = MAX_PRICE if price is None else min(tick_below(price), MAX_PRICE)
        return Level(price=falling_to, direction=Direction.FALLING)
    if price is None or price > MAX_PRICE:
        return None
    return Level(price=tick_above(price), direction=Direction.RISING)


def _threshold_price(position: Position, config: GuardConfig) -> Fraction | None:
    match config.metric:
        case Metric.MARGIN_RATIO:
            return position.price_at_margin_ratio(config.threshold)
        case Metric.MARGIN_USED:
            return position.price_at_margin_used(config.threshold)
        case Metric.LIQUIDATION_DISTANCE:
            return position.price_at_liquidation_distance(config.threshold)
        case never:
            assert_never(never)


def _needed(position: Position, price: UsdPerBtc, metric: Metric, target: Fraction) -> int:
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


def _add(position: Position, wanted: int, why: str) -> Decision:
    amount = min(wanted, position.largest_top_up)
    if amount <= 0:
        return Hold(reason=f"{why}, but the leverage is already 1: no more margin can be added")
    return AddMargin(position_id=position.id, amount=Sats(amount), why=why)


def _named(metric: Metric, value: Fraction) -> str:
    return f"{metric.value.replace('_', ' ')} {_percent(value)}"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:.2f} %"
