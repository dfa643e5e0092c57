"""What is remembered of one automation on one position between two looks; kept in the database."""

from dataclasses import dataclass
from decimal import Decimal

from exchange.money import UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What happened before, as far as a decision depends on it."""

    spent: frozenset[int] = frozenset()
    """Numbers of the steps that acted, and wait for the danger to draw back."""
    stoploss: UsdPerBtc | None = None
    """The fixed stop that the automation itself set last."""
    trailing: Decimal | None = None
    """The distance of the trailing stop, where it set one in place of a fixed one."""
    takeprofit: UsdPerBtc | None = None
    """The take profit that the automation itself set last."""


NOTHING = Memory()
