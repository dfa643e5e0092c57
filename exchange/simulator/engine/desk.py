"""What the books of one account have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from exchange.simulator.engine.events import Event
from exchange.simulator.engine.fees import FeeTier
from exchange.simulator.engine.market import Market
from exchange.simulator.engine.rules import Rules
from exchange.simulator.engine.wallet import Wallet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Desk:
    account: str
    """Its id."""
    wallet: Wallet
    market: Market
    fees: FeeTier
    rules: Rules
    new_id: Callable[[], str]
    emit: Callable[[Event], None]
