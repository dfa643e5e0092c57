"""What can be subscribed to, and with which permission (API notes, 5.5 to 5.8)."""

from typing import Final

from exchange.simulator.engine import events
from exchange.simulator.engine.account import Scope

PUBLIC: Final = frozenset({events.LAST_PRICE, events.TICKER})
PRIVATE: Final = {events.ISOLATED_TRADES: Scope.ISOLATED_READ}
