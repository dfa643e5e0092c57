"""One account of the paper exchange and its API key."""

import base64
import hashlib
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exchange.auth import Credentials
from exchange.simulator.engine.cross import CrossBook
from exchange.simulator.engine.fees import FeeTier
from exchange.simulator.engine.isolated import IsolatedBook
from exchange.simulator.engine.movements import Movements
from exchange.simulator.engine.trade import State
from exchange.simulator.engine.wallet import Wallet


class Scope(StrEnum):
    """What a key may do (API notes, 2.8)."""

    ISOLATED_READ = "futures:isolated:read"
    ISOLATED_WRITE = "futures:isolated:write"
    CROSS_READ = "futures:cross:read"
    CROSS_WRITE = "futures:cross:write"
    ACCOUNT_READ = "account:read"
    DEPOSITS_READ = "account:deposits:read"
    DEPOSITS_WRITE = "account:deposits:write"
    WITHDRAWALS_READ = "account:withdrawals:read"
    WITHDRAWALS_WRITE = "account:withdrawals:write"
    NOTIFICATIONS_READ = "account:notifications:read"
    NOTIFICATIONS_WRITE = "account:notifications:write"
    SYNTHETIC_USD_READ = "synthetic-usd:read"
    SYNTHETIC_USD_WRITE = "synthetic-usd:write"


TRADING_SCOPES: Final = frozenset(
    {
        Scope.ISOLATED_READ,
        Scope.ISOLATED_WRITE,
        Scope.CROSS_READ,
        Scope.CROSS_WRITE,
        Scope.ACCOUNT_READ,
    }
)
"""What a key for automations should have, and no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an account is; the same seed and number give the same identity each time."""

    id: str
    username: str
    credentials: Credentials


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    identity: Identity
    scopes: frozenset[Scope]
    fees: FeeTier
    wallet: Wallet
    isolated: IsolatedBook
    cross: CrossBook
    movements: Movements

    @property
    def id(self) -> str:
        return self.identity.id

    def volume_since(self, since_ms: int) -> int:
        """Return the contracts that were closed since then (6.4)."""
        closed = self.isolated.listed(State.CLOSED)
        isolated = sum(trade.quantity for trade in closed if (trade.closed_at_ms or 0) >= since_ms)
        filled = self.cross.filled_orders()
        return isolated + sum(each.quantity for each in filled if (each.filled_at_ms or 0) >= since_ms)


def identity(seed: int, number: int) -> Identity:
    return Identity(
        id=str(uuid.UUID(bytes=_bytes(seed, number, "id")[:16], version=4)),
        username=f"paper-{number}",
        credentials=Credentials(
            key=base64.b64encode(_bytes(seed, number, "key")).decode(),
            secret=base64.b64encode(_bytes(seed, number, "secret")).decode(),
            passphrase=_bytes(seed, number, "passphrase").hex()[:16],
        ),
    )


def _bytes(seed: int, number: int, what: str) -> bytes:
    return hashlib.sha256(f"paper exchange {seed} {number} {what}".encode()).digest()
