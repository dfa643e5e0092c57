"""The whole engine: one market and every account on it, moved by price steps."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from exchange.formulas import FEE_RATES
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine import events
from exchange.simulator.engine.account import Account, Identity, Scope
from exchange.simulator.engine.events import Event
from exchange.simulator.engine.isolated import IsolatedBook
from exchange.simulator.engine.market import Market
from exchange.simulator.engine.wallet import Wallet


class Venue:
    """Pure: no clock, no socket. What happened waits in order until `take_events` fetches it."""

    def __init__(self, *, price: UsdPerBtc, half_spread: Decimal, new_id: Callable[[], str]) -> None:
        self.market = Market(price=price, half_spread=half_spread)
        self._accounts: dict[str, Account] = {}
        self._new_id = new_id
        self._events: list[Event] = []

    def add_account(
        self, identity: Identity, *, balance: Sats, scopes: Iterable[Scope], fee_tier: int = 0
    ) -> Account:
        wallet = Wallet(balance)
        account = Account(
            identity=identity,
            scopes=frozenset(scopes),
            fee_tier=fee_tier,
            wallet=wallet,
            isolated=IsolatedBook(
                account=identity.id,
                wallet=wallet,
                market=self.market,
                fee_rate=FEE_RATES[fee_tier],
                new_id=self._new_id,
                emit=self._events.append,
            ),
        )
        self._accounts[identity.credentials.key] = account
        return account

    @property
    def accounts(self) -> Iterable[Account]:
        return self._accounts.values()

    def account_with_key(self, key: str) -> Account | None:
        return self._accounts.get(key)

    def move(self, price: UsdPerBtc, now_ms: int) -> bool:
        """Move the last price and settle every account; False where the price is the same."""
        before = self.market.price
        if price == before:
            return False
        self.market.price = price
        self._events.append(events.price_moved(price, now_ms))
        for account in self._accounts.values():
            account.isolated.settle(before, price, now_ms)
        return True

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        happened = list(self._events)
        self._events.clear()
        return happened
