"""What the engine does by the clock, and that skipping untouched accounts changes nothing."""

from decimal import Decimal
from itertools import count

import pytest

from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.simulator.engine.account import Account, Scope, identity
from exchange.simulator.engine.fees import REFRESH_MS, WINDOW_MS
from exchange.simulator.engine.market import FUNDING_EVERY_MS
from exchange.simulator.engine.opening import NewTrade
from exchange.simulator.engine.trade import OrderType
from exchange.simulator.engine.venue import Venue


def new_venue(*, fee_tier: int = 0) -> tuple[Venue, Account]:
    ids = count(1)
    venue = Venue(
        price=UsdPerBtc(Decimal(100_000)),
        half_spread=Decimal(0),
        new_id=lambda: str(next(ids)),
        now_ms=0,
    )
    account = venue.add_account(
        identity(1, 1), balance=Sats(10**12), scopes=Scope, now_ms=0, fee_tier=fee_tier
    )
    return venue, account


def traded(account: Account, quantity: int, now_ms: int) -> Sats:
    """Open and close a trade, and return its opening fee."""
    order = NewTrade(
        type=OrderType.MARKET,
        side=Side.BUY,
        leverage=Decimal(10),
        quantity=Usd(quantity),
        margin=None,
        price=None,
        stoploss=Decimal(0),
        trailing=False,
        takeprofit=Decimal(0),
        client_id=None,
    )
    trade = account.isolated.create(order, now_ms)
    return account.isolated.close(trade.id, now_ms).opening_fee


def test_funding_is_settled_at_each_of_its_times_once() -> None:
    venue, _ = new_venue()
    for now_ms in (1, FUNDING_EVERY_MS - 1, FUNDING_EVERY_MS, FUNDING_EVERY_MS + 1):
        venue.keep_time(now_ms)
    venue.keep_time(3 * FUNDING_EVERY_MS + 5)
    times = [settlement.time_ms for settlement in venue.market.settlements]
    assert times == [FUNDING_EVERY_MS, 2 * FUNDING_EVERY_MS], "what was slept through comes once"


@pytest.mark.parametrize(
    ("quantity", "tier"),
    [(250_000, 0), (250_001, 1), (500_000, 1)],
)
def test_volume_earns_a_better_fee_tier_at_the_next_hour(quantity: int, tier: int) -> None:
    venue, account = new_venue()
    traded(account, quantity, 10)
    venue.keep_time(REFRESH_MS - 1)
    assert account.fees.tier == 0
    venue.keep_time(REFRESH_MS)
    assert account.fees.tier == tier


def test_a_better_tier_pays_less_and_leaves_the_rest_of_its_reserve_to_the_close() -> None:
    _, account = new_venue(fee_tier=3)
    before = account.wallet.balance
    assert traded(account, 1000, 0) == 600
    assert account.wallet.balance == before - 1200


def test_old_volume_no_longer_counts_but_a_tier_never_falls_below_its_setting() -> None:
    venue, account = new_venue(fee_tier=1)
    for _ in range(3):
        traded(account, 500_000, 10)
    venue.keep_time(REFRESH_MS)
    assert account.fees.tier == 2
    venue.keep_time(REFRESH_MS + WINDOW_MS + 20)
    assert account.fees.tier == 1
