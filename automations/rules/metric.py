"""How near liquidation a position is, as one number."""

from enum import StrEnum
from fractions import Fraction
from typing import assert_never

from exchange.money import Exact
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

    def has_reached(self, threshold: Fraction, value: Fraction) -> bool:
        """Whether a value is as dangerous as the threshold, or more; being exactly on it counts."""
        return value <= threshold if self.shrinks else value >= threshold
