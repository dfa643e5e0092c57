"""Funding: what was settled, and what each position paid (API notes, 6.11)."""

from dataclasses import dataclass
from decimal import Decimal

from exchange.money import Sats, UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """One moment at which every running position pays or receives."""

    id: str
    time_ms: int
    rate: Decimal
    fixing: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingFee:
    """What one position paid at a settlement; negative is received. `trade` is None for cross."""

    fee: Sats
    settlement: str
    time_ms: int
    trade: str | None
