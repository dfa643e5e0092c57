"""How much of a position is closed so that it is out of the danger that asked for it."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Final

from automations.rules.actions import ClosePosition, Hold, ReducePosition
from automations.rules.aftermath import Circumstances, foresee
from automations.rules.cross_guards import IN_VAIN, may_reduce
from automations.rules.metric import Metric
from exchange.formulas import FEE_RATES, Side
from exchange.money import MAX_PRICE, MIN_PRICE, Exact, Sats, Usd, UsdPerBtc, tick_above, tick_below
from exchange.position import Position, Regime
from exchange.trade import LARGEST_ORDER

CANNOT_REDUCE: Final = "cannot_reduce"
_SLIP: Final = Fraction(1, 2000)
"""By this share the price may be worse where the orders are filled, and again afterwards: the danger is
over nevertheless. The spread is a part of it."""


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
        reason = f"{why}, but closing a part would not bring it back, fees counted"
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
        """Whether it is after closing so much, here or at a worse price, whatever fees are paid."""
        worse = _a_little_worse(self.position.side, self.price)
        return all(
            self._is_over(self._rest(closed, filled_at, rate))
            for filled_at in (self.price, worse)
            for rate in (FEE_RATES[0], FEE_RATES[-1])
        )

    def _is_over(self, rest: Position | None) -> bool:
        if rest is None or not self._is_farther(rest):
            return False
        later = _a_little_worse(rest.side, _a_little_worse(rest.side, self.price))
        return not self.metric.has_reached(self.threshold, self.metric.at(rest, later))

    def _rest(self, closed: Usd, filled_at: UsdPerBtc, fee_rate: Exact) -> Position | None:
        """Return the rest; None where the exchange would refuse it, or fresh sats would be needed."""
        action = ReducePosition(position_id=self.position.id, quantity=closed, why="")
        at = Circumstances(price=filled_at, fee_rate=fee_rate, position=self.position)
        after = foresee(action, at)
        if after.refused or after.position is None or after.balance_change < 0:
            return None
        return _with_a_hundredth_more_leverage(after.position)

    def _is_farther(self, rest: Position) -> bool:
        before, after = self.position.liquidation, rest.liquidation
        return rest.side.sign * (before - after) > 0 or before == after == MAX_PRICE


def _with_a_hundredth_more_leverage(rest: Position) -> Position:
    """Return the rest as it may be at the price that is truly met: its leverage is rounded up anew."""
    if rest.regime is Regime.CROSS:
        return rest
    leverage = Fraction(rest.leverage)
    kept = max(1, floor(rest.margin * leverage / (leverage + Fraction(1, 100))))
    return rest.with_margin_added(Sats(kept - rest.margin))


def _a_little_worse(side: Side, price: UsdPerBtc) -> UsdPerBtc:
    worse = Fraction(price) * (1 - side.sign * _SLIP)
    return max(tick_below(worse), MIN_PRICE) if side is Side.BUY else tick_above(worse)


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
