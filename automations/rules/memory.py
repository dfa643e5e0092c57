"""What is remembered of one automation on one position between two looks; kept in the database."""

from dataclasses import dataclass
from decimal import Decimal

from exchange.money import Sats, UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What happened before, as far as a decision depends on it.

    An exit is remembered as any automation of the account set it last: for a guard every stop, for take
    profit and stop loss those exits that the automation itself set at least once.
    """

    spent: frozenset[int] = frozenset()
    """Numbers of the steps that acted, and wait for the danger to draw back."""
    stoploss: UsdPerBtc | None = None
    """The fixed stop that was set last."""
    trailing: Decimal | None = None
    """The distance of the trailing stop, where one was set in place of a fixed one."""
    takeprofit: UsdPerBtc | None = None
    """The take profit that was set last."""
    stop_is_own: bool = False
    """Whether this very automation set that stop."""
    takeprofit_is_own: bool = False
    """Whether it set that take profit."""
    cashed_in: Sats | None = None
    """What had been cashed in of the position when that stop was set; None: not known."""
    disarmed: str = ""
    """Why the automation does nothing on the position until its owner re-arms it; empty: it acts."""


NOTHING = Memory()
