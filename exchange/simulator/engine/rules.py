"""Rules of the exchange that its sources leave open, as settings (API notes, 6.1, 6.5, 6.10)."""

from dataclasses import dataclass
from typing import Final

from exchange.money import Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    most_trades: int = 50
    """Isolated trades, open and running, of one account."""
    most_trade_margin: Sats | None = None
    """Of one isolated trade; None is no limit."""
    most_account_margin: Sats | None = None
    """Of all isolated trades of an account together; None is no limit."""
    slippage: bool = False
    """Whether a stop or target executes at the price that crossed it, not at its own."""
    funding_to_margin: bool = False
    """Whether funding that a trade receives goes to its margin, not to the free balance."""


USUAL: Final = Rules()
