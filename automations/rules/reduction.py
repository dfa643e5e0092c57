"""How much of a position is closed so that it is out of the danger that asked for it."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Final

from automations.rules.actions import ClosePosition, Hold, ReducePosition
from automations.rules.aftermath import Circumstances, foresee
from automations.rules.cross_guards import IN_VAIN, may_reduce
from automations.rules.metric import Metric
from exchange.formulas import FEE_RATES
from exchange.money import MAX_PRICE, Exact, Usd, UsdPerBtc
from exchange.position import Position, Regime
from exchange.trade import LARGEST_ORDER

CANNOT_REDUCE: Final = "cannot_reduce"
_SLIP: Final = Fraction(1, 1000)
"""By this share the price may go on against the position, and it is still out of the danger."""


def reduction(
    position: Position,
    share: Fraction,
    price: UsdPerBtc,
    *,
    metric: Metric,
    threshold: Fraction,
    step: int | None,
    why: str,
) -> ReducePosition | ClosePosition | Hold:
    """Return the order that closes `share` of the position, or as much more as it takes.

    Afterwards the metric is safer than the threshold and liquidation farther away, fees counted; where
    no part does that, the reason is returned. The rest is rounded down to whole contracts; where none
    is left, all is closed (API notes, 7.1).
    """
    least = position.quantity - floor(position.quantity * (1 - share))
    if least == position.quantity:
        return ClosePosition(position_id=position.id, why=why, step=step)
    if not may_reduce(position.regime, metric):
        return Hold(reason=f"{why}, but {IN_VAIN}", word=CANNOT_REDUCE, step=step)
    danger = _Danger(position=position, price=price, metric=metric, threshold=threshold)
    quantity = _enough(danger, least)
    if quantity is None:
        reason = f"{why}, but closing a part would not bring it back: too little is left"
        return Hold(reason=reason, word=CANNOT_REDUCE, step=step)
    if quantity > least:
        why = f"{why}; closing {least:,} USD would not be enough"
    return ReducePosition(position_id=position.id, quantity=quantity, why=why, step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Danger:
    """What a reduction is to end."""

    position: Position
    price: UsdPerBtc
    metric: Metric
    threshold: Fraction

    def is_over(self, closed: Usd) -> bool:
        """Whether it is after closing so much, also a little further on, whatever fees are paid."""
        return all(self._is_over(closed, rate) for rate in (FEE_RATES[0], FEE_RATES[-1]))

    def _is_over(self, closed: Usd, fee_rate: Exact) -> bool:
        rest = self._rest(closed, fee_rate)
        if rest is None or not self._is_farther(rest):
            return False
        value = self.metric.at(rest, Fraction(self.price) * (1 - rest.side.sign * _SLIP))
        return not self.metric.has_reached(self.threshold, value)

    def _rest(self, closed: Usd, fee_rate: Exact) -> Position | None:
        """Return the rest; None where the exchange would refuse it, or fresh sats would be needed."""
        action = ReducePosition(position_id=self.position.id, quantity=closed, why="")
        at = Circumstances(price=self.price, fee_rate=fee_rate, position=self.position)
        after = foresee(action, at)
        return None if after.refused or after.balance_change < 0 else after.position

    def _is_farther(self, rest: Position) -> bool:
        before, after = self.position.liquidation, rest.liquidation
        return rest.side.sign * (before - after) > 0 or before == after == MAX_PRICE


def _enough(danger: _Danger, least: int) -> Usd | None:
    """Return the contracts to close, at least so many, that end the danger; None where none do.

    The more is closed, the safer is the rest: halving finds the fewest, but for 1 % of the position.
    """
    position = danger.position
    most = position.quantity - 1
    if position.regime is Regime.CROSS:
        most = max(least, min(most, LARGEST_ORDER))
    if danger.is_over(Usd(least)):
        return Usd(least)
    if not danger.is_over(Usd(most)):
        return None
    while most - least > max(1, position.quantity // 100):
        middle = (least + most) // 2
        if danger.is_over(Usd(middle)):
            most = middle
        else:
            least = middle
    return Usd(most)
