"""The whole engine: one market and every account on it, moved by price steps and settlements."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine import events
from exchange.simulator.engine.account import Account, Identity, Scope
from exchange.simulator.engine.chart import Candle, Chart, Range
from exchange.simulator.engine.cross import CrossBook
from exchange.simulator.engine.desk import Desk
from exchange.simulator.engine.events import Event
from exchange.simulator.engine.fees import REFRESH_MS, WINDOW_MS, FeeTier
from exchange.simulator.engine.funding import Settlement
from exchange.simulator.engine.isolated import IsolatedBook
from exchange.simulator.engine.market import Market, next_funding_ms
from exchange.simulator.engine.movements import Movements
from exchange.simulator.engine.rules import USUAL, Rules
from exchange.simulator.engine.wallet import Wallet


class Venue:
    """Pure: no clock, no socket. What happened waits in order until `take_events` fetches it."""

    def __init__(
        self,
        *,
        price: UsdPerBtc,
        half_spread: Decimal,
        new_id: Callable[[], str],
        now_ms: int,
        past: Callable[[], Sequence[Candle]] = list,
        rules: Rules = USUAL,
    ) -> None:
        self._rules = rules
        self.market = Market(price=price, half_spread=half_spread)
        self.chart = Chart(price, now_ms, past)
        self._next_fees_ms = now_ms + REFRESH_MS
        self._next_funding_ms = next_funding_ms(now_ms)
        self._accounts: dict[str, Account] = {}
        self._new_id = new_id
        self._events: list[Event] = []

    def add_account(
        self,
        identity: Identity,
        *,
        balance: Sats,
        scopes: Iterable[Scope],
        now_ms: int,
        fee_tier: int = 0,
    ) -> Account:
        desk = Desk(
            account=identity.id,
            wallet=Wallet(balance),
            market=self.market,
            fees=FeeTier(fee_tier),
            rules=self._rules,
            new_id=self._new_id,
            emit=self._events.append,
        )
        account = Account(
            identity=identity,
            scopes=frozenset(scopes),
            fees=desk.fees,
            wallet=desk.wallet,
            isolated=IsolatedBook(desk),
            cross=CrossBook(desk, now_ms=now_ms),
            movements=Movements(desk),
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
        self.chart.priced(price, self.market.take_volume(), now_ms)
        self._events.append(events.price_moved(price, now_ms))
        self._events.append(events.index_moved(self.market.index, now_ms))
        for account in self._accounts.values():
            account.isolated.settle(before, price, now_ms)
            account.cross.settle(before, price, now_ms)
        return True

    def candles(self, range_: Range, now_ms: int) -> Iterator[Candle]:
        """Yield the candles of a range, the newest first; the first one still grows."""
        self.chart.priced(self.market.price, self.market.take_volume(), now_ms)
        return self.chart.candles(range_, now_ms)

    def settle_funding(self, now_ms: int) -> Settlement:
        """Let every running position pay or receive funding, now and at the rate of the market."""
        settlement = Settlement(
            id=self._new_id(),
            time_ms=now_ms,
            rate=self.market.funding_rate,
            fixing=self.market.price,
        )
        self.market.settlements.append(settlement)
        self._events.append(events.funding_settled(settlement))
        for account in self._accounts.values():
            account.isolated.fund(settlement)
            account.cross.fund(settlement)
        return settlement

    def keep_time(self, now_ms: int) -> None:
        """Do what is due by the clock: settle funding, refresh the fee tiers."""
        if now_ms >= self._next_fees_ms:
            self._next_fees_ms = now_ms + REFRESH_MS
            for account in self._accounts.values():
                account.fees.refresh(account.volume_since(now_ms - WINDOW_MS))
        if now_ms >= self._next_funding_ms:
            due_ms, self._next_funding_ms = self._next_funding_ms, next_funding_ms(now_ms)
            self.settle_funding(due_ms)

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        happened = list(self._events)
        self._events.clear()
        return happened
