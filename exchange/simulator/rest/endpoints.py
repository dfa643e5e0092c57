"""What an endpoint is: who may call it, and what it does with the engine."""

from collections.abc import Callable
from dataclasses import dataclass

from exchange.simulator.engine.account import Account, Scope
from exchange.simulator.engine.trade import Trade
from exchange.simulator.engine.venue import Venue
from exchange.simulator.rest import payloads
from exchange.simulator.rest.params import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted request of an account."""

    venue: Venue
    account: Account
    params: Params
    now_ms: int

    def shown(self, trade: Trade) -> dict[str, object]:
        return payloads.trade(trade, self.venue.market.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A write that happened: its answer, and what it did in a few words for the ledger."""

    answer: object
    effect: str
    trade: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicCall:
    venue: Venue
    params: Params
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    run: Callable[[PublicCall], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    scope: Scope
    run: Callable[[Call], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    scope: Scope
    run: Callable[[Call], Done]


Endpoint = Public | Read | Write
Routes = dict[tuple[str, str], Endpoint]
"""By method and path."""
