"""What can be subscribed to, and with which permission (API notes, 5.5 to 5.8)."""

from typing import Final

from exchange.simulator.engine import events
from exchange.simulator.engine.account import Scope
from exchange.simulator.engine.chart import Range

PUBLIC: Final = frozenset(
    {
        events.ANNOUNCEMENTS,
        events.TICKER,
        events.LAST_PRICE,
        events.INDEX,
        events.BUCKETS,
        events.FUNDING,
        *(events.OHLC + range_ for range_ in Range),
    }
)
PRIVATE: Final = {
    events.ISOLATED_TRADES: Scope.ISOLATED_READ,
    events.CROSS_ORDERS: Scope.CROSS_READ,
    events.CROSS_POSITION: Scope.CROSS_READ,
    events.DEPOSITS: Scope.DEPOSITS_READ,
    events.WITHDRAWALS: Scope.WITHDRAWALS_READ,
}
