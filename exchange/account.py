"""An account as the exchange sees it: its free balance and fee tier."""

from dataclasses import dataclass
from datetime import datetime

from exchange.money import Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """`GET /account` (API notes, 3.5)."""

    id: str | None
    username: str | None
    balance: Sats
    """Free balance: neither margin in trades nor the cross margin is part of it."""
    fee_tier: int
    """0 is the first tier, and what counts where none is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The free balance, and when it was asked for, by REST: no stream tells it (API notes, 5.9)."""

    free: Sats
    at: datetime
    """Aware, before the request left: what happened since then is not in it."""
