"""Presets: whole guards to choose from, made for positions, so that nobody must choose each number.

Let `g` be the way to liquidation at which margin is added, and `h` the way after that, as shares of the
price. One request is on its way at a time and takes effect after half of its answering time D. Falling
by r each second the price has gone r*D/2 when the first top-up is there, which is why g must be more
than that, and 1.5*r*D when the second one is, which the first must carry: with h = 3*g and a little
more, nothing that can be saved at all is lost while an answer is waited for. Where a stop lies with the
exchange, a second top-up that comes too late costs the position and not all of its margin: there less
is added at a time. Whatever is added beyond the need of the hour is g at least and h at most.

The exchange takes 5 requests a second of one key. Where more positions than that come near liquidation
at once, the last of them waits longer for each of its top-ups: g and h grow with their number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import floor
from typing import Final

from automations.rules.margin_guard import AddToReach, Close, Step
from automations.rules.metric import Metric
from exchange.config import PRIVATE_RATE
from exchange.money import Exact
from exchange.position import Position, Regime


class PresetName(StrEnum):
    CAREFUL = "careful"
    """Spend little, then close."""
    BALANCED = "balanced"
    """Spend three times the first margin, then close."""
    ALL_IN = "all in"
    """Add as long as there is money; never close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A guard in numbers. Ways to liquidation are shares of the price."""

    name: PresetName
    steps: tuple[Step, ...]
    budget: Fraction
    """Of all top-ups of one position together, as a share of its first margin."""
    backstop: bool
    """Whether the closing step is also left at the exchange as a stop, where it can be."""
    metric: Metric = Metric.LIQUIDATION_DISTANCE
    cooldown_s: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    closes: bool
    budget: Fraction


_SHAPES: Final = {
    PresetName.CAREFUL: _Shape(closes=True, budget=Fraction(1)),
    PresetName.BALANCED: _Shape(closes=True, budget=Fraction(3)),
    # At leverage 100 nothing more can be added after 99 first margins.
    PresetName.ALL_IN: _Shape(closes=False, budget=Fraction(100)),
}
_ADDS_AT: Final = Fraction(75, 10_000)
"""Where all positions get a top-up within a second."""
_MOST_TIMES: Final = Fraction(5)
"""So many times further away is margin added for many positions, at the most."""
_OF_ENTRY: Final = Fraction(1, 2)
"""Margin is not added before half of the way that there was at entry is gone."""
_TARGET: Final = Fraction(10, 3)
_TARGET_BEFORE_A_STOP: Final = Fraction(2)
"""The way after a top-up, in ways before it."""
_CLOSES_AT: Final = Fraction(1, 2)
"""The way at which the position is closed, likewise."""
_FINEST: Final = 10_000
"""Thresholds are told in hundredths of a percent."""


def preset(name: PresetName, positions: Iterable[Position]) -> Preset:
    """Return the preset for these positions, of which the one nearest to liquidation at entry counts.

    Raises:
        ValueError: there is no position, or one was opened too near to its liquidation.
    """
    found = list(positions)
    if not found:
        raise ValueError("a preset is made for positions, and there is none")
    nearest = min(each.liquidation_distance_at(each.entry) for each in found)
    round_s = Fraction(len(found)) / Fraction(PRIVATE_RATE.per_s)
    times = min(max(round_s, Fraction(1)), _MOST_TIMES)
    alone = min(nearest * _OF_ENTRY, _ADDS_AT)
    adds_at = _told(min(nearest * _OF_ENTRY, alone * times))
    if adds_at <= 0:
        raise ValueError("a position is too near to its liquidation for a preset")
    shape = _SHAPES[name]
    stops = shape.closes and all(each.regime is Regime.ISOLATED for each in found)
    target = _told(alone * times * (_TARGET_BEFORE_A_STOP if stops else _TARGET))
    adding = Step(number=1, threshold=adds_at, response=AddToReach(target=target))
    closing = Step(number=2, threshold=_told(adds_at * _CLOSES_AT), response=Close())
    return Preset(
        name=name,
        steps=(adding, closing) if shape.closes else (adding,),
        budget=shape.budget,
        backstop=shape.closes,
    )


def _told(share: Exact) -> Fraction:
    return Fraction(floor(share * _FINEST), _FINEST)
