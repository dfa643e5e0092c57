"""Money is neither made nor lost, over any sequence of trades, price steps, funding and closes."""

from collections.abc import Callable
from decimal import Decimal
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.simulator.engine.account import Account, Scope, identity
from exchange.simulator.engine.cross import NewCrossOrder
from exchange.simulator.engine.opening import NewTrade
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.trade import OrderType, State, Trade
from exchange.simulator.engine.venue import Venue

START = Sats(10_000_000)
Step = Callable[[Venue, Account, int], object]


def new_venue() -> tuple[Venue, Account]:
    ids = count(1)
    venue = Venue(
        price=UsdPerBtc(Decimal(100_000)),
        half_spread=Decimal("0.5"),
        new_id=lambda: str(next(ids)),
        now_ms=0,
    )
    return venue, venue.add_account(identity(1, 1), balance=START, scopes=Scope, now_ms=0)


def nth(trades: list[Trade], number: int) -> str:
    return trades[number % len(trades)].id if trades else "nothing"


def live(account: Account, number: int) -> str:
    isolated = account.isolated
    return nth(isolated.listed(State.RUNNING) + isolated.listed(State.OPEN), number)


def running(account: Account, number: int) -> str:
    return nth(account.isolated.listed(State.RUNNING), number)


sides = st.sampled_from(Side)
quantities = (st.sampled_from((2500, 5000)) | st.integers(1, 5000)).map(Usd)
amounts = st.integers(1, 100_000).map(Sats)
prices = st.integers(140_000, 260_000).map(lambda halves: UsdPerBtc(Decimal(halves) / 2))
which = st.integers(0, 5)
rates = st.integers(-300, 300).map(lambda millionths: Decimal(millionths) / 1_000_000)


@st.composite
def trades(draw: st.DrawFn) -> Step:
    is_limit = draw(st.booleans())
    order = NewTrade(
        type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        side=draw(sides),
        leverage=Decimal(draw(st.integers(10, 1000))) / 10,
        quantity=draw(quantities),
        margin=None,
        price=draw(prices) if is_limit else None,
        stoploss=Decimal(draw(st.sampled_from(["0", "0.01", "0.1"]))),
        trailing=True,
        takeprofit=Decimal(0),
        client_id=None,
    )
    return lambda _venue, account, now_ms: account.isolated.create(order, now_ms)


@st.composite
def cross_orders(draw: st.DrawFn) -> Step:
    price = draw(st.none() | prices)
    order = NewCrossOrder(side=draw(sides), quantity=draw(quantities), price=price, client_id=None)
    return lambda _venue, account, now_ms: account.cross.order(order, now_ms)


def moves(price: UsdPerBtc) -> Step:
    return lambda venue, _account, now_ms: venue.move(price, now_ms)


def settles(rate: Decimal) -> Step:
    def step(venue: Venue, _account: Account, now_ms: int) -> object:
        venue.market.funding_rate = rate
        return venue.settle_funding(now_ms)

    return step


steps = st.one_of(
    trades(),
    cross_orders(),
    prices.map(moves),
    rates.map(settles),
    which.map(lambda n: lambda _v, a, now: a.isolated.close(running(a, n), now)),
    which.map(lambda n: lambda _v, a, now: a.isolated.cancel(live(a, n), now)),
    st.tuples(which, amounts).map(
        lambda p: lambda _v, a, _now: a.isolated.add_margin(running(a, p[0]), p[1])
    ),
    st.tuples(which, amounts).map(
        lambda p: lambda _v, a, _now: a.isolated.cash_in(running(a, p[0]), p[1])
    ),
    st.tuples(which, prices).map(
        lambda p: lambda _v, a, _now: a.isolated.set_takeprofit(live(a, p[0]), p[1])
    ),
    amounts.map(lambda amount: lambda _v, a, now: a.cross.deposit(amount, now)),
    amounts.map(lambda amount: lambda _v, a, now: a.cross.withdraw(amount, now)),
    st.integers(1, 100).map(lambda n: lambda _v, a, now: a.cross.set_leverage(n, now)),
    st.just(lambda _v, a, now: a.cross.close(now)),
    st.just(lambda _v, a, now: a.cross.cancel_all(now)),
)


scripts = st.lists(steps, min_size=40, max_size=60)
"""Long enough that trades are opened, changed and ended in most of them."""


def played(script: list[Step]) -> tuple[Venue, Account]:
    venue, account = new_venue()
    account.cross.deposit(Sats(600_000), 0)
    for now_ms, step in enumerate(script):
        before = account.wallet.balance
        try:
            step(venue, account, now_ms)
        except Refused:
            assert account.wallet.balance == before, "what was refused has cost nothing"
    return venue, account


def reserves(trade: Trade) -> int:
    """Return both reserves, computed anew from the entry."""
    quantity, entry = trade.quantity, trade.entry_price
    first_liquidation = formulas.liquidation_price(trade.side, quantity, entry, trade.entry_margin)
    closing = formulas.closing_reserve(quantity, first_liquidation)
    return formulas.opening_reserve(quantity, entry) + closing


def effect_on_balance(account: Account, trade: Trade) -> int:
    """Return what a trade did to the balance so far, told from its record and the list of fees."""
    if trade.state is State.CANCELED:
        return 0
    fees = [fee.fee for fee in account.isolated.funding_fees() if fee.trade == trade.id]
    assert sum(fees) == trade.sum_funding_fees
    paid, received = sum(max(0, fee) for fee in fees), sum(max(0, -fee) for fee in fees)
    so_far = received + trade.sum_cash_in_pl - trade.margin - paid - reserves(trade)
    if trade.state is State.CLOSED:
        left = reserves(trade) - trade.opening_fee - trade.closing_fee
        return so_far + max(0, trade.margin + left + trade.realised)
    assert trade.maintenance_margin == reserves(trade) - trade.opening_fee
    return so_far


@given(scripts)
@settings(max_examples=100, deadline=None)
def test_the_balance_is_what_the_records_of_all_trades_and_transfers_say(
    script: list[Step],
) -> None:
    _, account = played(script)
    trades = [trade for state in State for trade in account.isolated.listed(state)]
    to_cross = sum(transfer.amount for transfer in account.cross.transfers())
    effects = sum(effect_on_balance(account, trade) for trade in trades)
    assert account.wallet.balance == START - to_cross + effects
    assert account.wallet.balance >= 0


@given(scripts)
@settings(max_examples=100, deadline=None)
def test_no_running_trade_is_beyond_its_liquidation_stop_or_target(script: list[Step]) -> None:
    venue, account = played(script)
    price = venue.market.price
    for trade in account.isolated.listed(State.RUNNING):
        sign = trade.side.sign
        assert sign * price > sign * trade.liquidation
        assert trade.stoploss is None or sign * price > sign * trade.stoploss
        assert trade.takeprofit is None or sign * price < sign * trade.takeprofit
        assert trade.margin * 100 >= formulas.notional(trade.quantity, trade.price) - 100
    position = account.cross.position
    assert not position.is_liquidated_at(price)


@given(scripts)
@settings(max_examples=100, deadline=None)
def test_the_cross_margin_is_what_was_put_in_and_earned_less_what_was_paid(
    script: list[Step],
) -> None:
    _, account = played(script)
    position = account.cross.position
    put_in = sum(transfer.amount for transfer in account.cross.transfers())
    assert position.margin == (
        put_in + position.realised - position.trading_fees - position.funding_fees
    )
    assert position.funding_fees == sum(fee.fee for fee in account.cross.funding_fees())
    assert position.trading_fees == sum(order.trading_fee for order in account.cross.filled_orders())
    assert sum(order.signed for order in account.cross.filled_orders()) == position.quantity


def market_order(side: Side, quantity: Usd) -> NewTrade:
    return NewTrade(
        type=OrderType.MARKET,
        side=side,
        leverage=Decimal(2),
        quantity=quantity,
        margin=None,
        price=None,
        stoploss=Decimal(0),
        trailing=False,
        takeprofit=Decimal(0),
        client_id=None,
    )


@given(quantities, prices)
def test_a_long_and_a_short_of_one_size_cost_their_fees_only(quantity: Usd, price: UsdPerBtc) -> None:
    venue, account = new_venue()
    venue.market.half_spread = Decimal(0)
    both = [account.isolated.create(market_order(side, quantity), 0) for side in Side]
    venue.move(price, 1)
    ended = [account.isolated.close(trade.id, 2) for trade in both]
    fees = sum(trade.opening_fee + trade.closing_fee for trade in ended)
    assert account.wallet.balance - (START - fees) in {0, 1}, "two roundings half up"


@given(side=sides, quantity=st.integers(2, 5000).map(Usd), price=prices, data=st.data())
def test_reducing_the_cross_position_costs_its_fee_only_whoever_bears_the_loss(
    *, side: Side, quantity: Usd, price: UsdPerBtc, data: st.DataObject
) -> None:
    venue, account = new_venue()
    venue.market.half_spread = Decimal(0)
    account.cross.deposit(START, 0)
    account.cross.order(cross_order(side, quantity), 0)
    venue.move(price, 1)
    before = account.cross.position

    closed = Usd(data.draw(st.integers(1, quantity - 1)))
    order = account.cross.order(cross_order(side.opposite, closed), 2)

    after = account.cross.position
    assert after.entry is not None
    quarter = Decimal("0.25")
    near = formulas.profit(side, after.size, after.entry - quarter, after.entry + quarter)
    worth = before.margin + before.profit_sats(price) - order.trading_fee
    assert abs(after.margin + after.profit_sats(price) - worth) <= abs(near) + 2


def cross_order(side: Side, quantity: Usd) -> NewCrossOrder:
    return NewCrossOrder(side=side, quantity=quantity, price=None, client_id=None)


@given(sides, quantities, prices, amounts)
def test_cashing_in_before_a_close_changes_the_result_by_one_rounding_to_the_grid(
    side: Side, quantity: Usd, price: UsdPerBtc, amount: Sats
) -> None:
    results = []
    for takes_out in (False, True):
        venue, account = new_venue()
        trade = account.isolated.create(market_order(side, quantity), 0)
        venue.move(price, 1)
        if takes_out:
            try:
                account.isolated.cash_in(trade.id, amount)
            except Refused:
                return
        account.isolated.close(trade.id, 2)
        results.append(account.wallet.balance)
    quarter_tick = formulas.profit(side, quantity, 70_000, Decimal("70000.25"))
    assert abs(results[0] - results[1]) <= abs(quarter_tick) + 2


@given(st.lists(prices, min_size=1, max_size=20), sides, st.integers(1, 200))
def test_a_trailing_stop_only_ever_tightens(
    path: list[UsdPerBtc], side: Side, thousandths: int
) -> None:
    venue, account = new_venue()
    trade = account.isolated.create(market_order(side, Usd(100)), 0)
    distance = Decimal(thousandths) / 1000
    stop = account.isolated.set_stoploss(trade.id, distance, trailing=True).stoploss
    for now_ms, price in enumerate(path):
        venue.move(price, now_ms)
        for running_trade in account.isolated.listed(State.RUNNING):
            assert stop is not None
            assert running_trade.stoploss is not None
            assert side.sign * (running_trade.stoploss - stop) >= 0
            stop = running_trade.stoploss
