"""What a price step does to trades, in the engine and as an account's owner sees it."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.simulator.engine.rules import Rules
from exchange.simulator.engine.settlement import exit_in, trailed
from exchange.simulator.engine.trade import Exit, OrderType, State, Trade
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest


def price(number: str) -> UsdPerBtc:
    return UsdPerBtc(Decimal(number))


def trade(side: Side, **changes: object) -> Trade:
    """Return a running trade of 1000 at 100000, 10x."""
    running = Trade(
        id="t",
        type=OrderType.MARKET,
        side=side,
        quantity=Usd(1000),
        margin=Sats(100_000),
        leverage=Fraction(10),
        price=price("100000"),
        liquidation=price("90909" if side is Side.BUY else "111111"),
        maintenance_margin=Sats(1100),
        created_at_ms=0,
        state=State.RUNNING,
        client_id=None,
        entry_price=price("100000"),
        entry_margin=Sats(100_000),
    )
    return replace(running, **changes)  # type: ignore[arg-type] # each test names real fields


@pytest.mark.parametrize(
    ("side", "before", "now", "exit_", "at"),
    [
        pytest.param(Side.BUY, "91000", "90909.5", None, None, id="a tick above liquidation"),
        pytest.param(Side.BUY, "91000", "90909", Exit.LIQUIDATION, "90909", id="at liquidation"),
        pytest.param(Side.BUY, "91000", "80000", Exit.LIQUIDATION, "90909", id="through it"),
        pytest.param(Side.SELL, "111000", "111111", Exit.LIQUIDATION, "111111", id="short: at it"),
        pytest.param(Side.SELL, "111000", "111110.5", None, None, id="short: a tick below"),
        pytest.param(Side.BUY, "90000", "95000", Exit.LIQUIDATION, "90909", id="step begins beyond"),
    ],
)
def test_liquidation(side: Side, before: str, now: str, exit_: Exit | None, at: str | None) -> None:
    expected = None if exit_ is None or at is None else (exit_, price(at))
    assert exit_in(trade(side), price(before), price(now)) == expected


@pytest.mark.parametrize(
    ("side", "stop", "target", "before", "now", "expected"),
    [
        pytest.param(
            Side.BUY, "95000", None, "96000", "90000", (Exit.STOPLOSS, "95000"), id="stop is nearer"
        ),
        pytest.param(
            Side.BUY,
            "90909",
            None,
            "96000",
            "90000",
            (Exit.STOPLOSS, "90909"),
            id="stop at liquidation",
        ),
        pytest.param(
            Side.BUY, None, "105000", "104000", "109000", (Exit.TAKEPROFIT, "105000"), id="target"
        ),
        pytest.param(
            Side.BUY, "104000", "105000", "104500", "104000", (Exit.STOPLOSS, "104000"), id="in gain"
        ),
        pytest.param(
            Side.SELL,
            "105000",
            "95000",
            "96000",
            "94000",
            (Exit.TAKEPROFIT, "95000"),
            id="short target",
        ),
        pytest.param(
            Side.SELL, "105000", "95000", "96000", "120000", (Exit.STOPLOSS, "105000"), id="short stop"
        ),
        pytest.param(Side.SELL, "105000", "95000", "96000", "104999.5", None, id="between them"),
    ],
)
def test_the_level_nearest_to_where_the_step_began_wins(
    *,
    side: Side,
    stop: str | None,
    target: str | None,
    before: str,
    now: str,
    expected: tuple[Exit, str] | None,
) -> None:
    guarded = trade(
        side,
        stoploss=None if stop is None else price(stop),
        takeprofit=None if target is None else price(target),
    )
    found = exit_in(guarded, price(before), price(now))
    assert found == (None if expected is None else (expected[0], price(expected[1])))


@pytest.mark.parametrize(
    ("side", "distance", "path", "levels"),
    [
        pytest.param(
            Side.BUY,
            "0.02",
            ("100000", "99000", "103217.5", "101150"),
            ("98000", "98000", "101153", "101153"),
            id="example 1",
        ),
        pytest.param(
            Side.SELL,
            "0.02",
            ("100000", "95000", "96500", "96900"),
            ("102000", "96900", "96900", "96900"),
            id="example 2",
        ),
        pytest.param(
            Side.BUY,
            "0.001",
            ("100000", "100500", "100400", "100399.5"),
            ("99900", "100399.5", "100399.5", "100399.5"),
            id="example 3",
        ),
    ],
)
def test_a_trailing_stop_follows_and_never_loosens(
    side: Side, distance: str, path: tuple[str, ...], levels: tuple[str, ...]
) -> None:
    trailing = trade(side, trailing=Decimal(distance))
    for at, level in zip(path, levels, strict=True):
        trailing = trailed(trailing, price(at))
        assert trailing.stoploss == price(level)
    assert exit_in(trailing, price(path[-2]), price(path[-1])) == (Exit.STOPLOSS, price(levels[-1]))


def test_liquidation_takes_margin_and_reserve_and_nothing_more(venue: Simulator, rest: Rest) -> None:
    rest.trade()
    venue.set_price(50000)
    (closed,) = rest.closed()
    assert (closed["exitPrice"], closed["pl"], closed["maintenanceMargin"]) == (90909, -100_000, 0)
    assert rest.balance() == 10_000_000 - 102_100


def test_a_close_that_costs_more_than_the_trade_holds_takes_nothing_more() -> None:
    with Simulator(half_spread=Decimal(500)) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        trade = rest.trade(leverage=100)
        after_opening = rest.balance()
        assert rest.post("/futures/isolated/trade/close", id=trade["id"]).status == 200
        assert rest.balance() - after_opening in range(10)


def test_a_stop_closes_at_its_own_price_through_a_gap(venue: Simulator, rest: Rest) -> None:
    rest.trade(stoploss=95000)
    venue.set_price(80000)
    (closed,) = rest.closed()
    assert (closed["exitPrice"], closed["pl"], closed["closingFee"]) == (95000, -52632, 1052)
    assert rest.balance() == 10_000_000 - 54_684


def test_with_slippage_a_stop_closes_at_the_price_that_crossed_it() -> None:
    with Simulator(rules=Rules(slippage=True)) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        rest.trade(stoploss=95000)
        venue.set_price(94000)
        assert rest.closed()[0]["exitPrice"] == 94000
        rest.trade(quantity=1)
        venue.set_price(50000)
        assert rest.closed()[0]["exitPrice"] == rest.closed()[0]["liquidation"]


def test_a_take_profit_closes_at_its_own_price(venue: Simulator, rest: Rest) -> None:
    rest.trade(takeprofit=105000)
    venue.set_price(120000)
    assert rest.closed()[0]["exitPrice"] == 105000
    assert rest.balance() == 10_000_000 + 45_667


def test_one_step_may_fill_a_limit_order_and_stop_it(venue: Simulator, rest: Rest) -> None:
    rest.trade(type="limit", price=95000, stoploss=94000)
    venue.set_price(93000)
    (closed,) = rest.closed()
    assert (closed["entryPrice"], closed["exitPrice"]) == (95000, 94000)


def test_a_trailing_stop_of_an_open_trade_begins_at_its_fill(venue: Simulator, rest: Rest) -> None:
    trade_id = rest.trade(type="limit", price=99000, stoploss=0.02, stoplossMode="trailing")["id"]
    (resting,) = rest.get("/futures/isolated/trades/open").body
    assert (resting["stoploss"], resting["stoplossTrailingDistance"]) == (0, 0.02)
    venue.set_price(98900)
    (running,) = rest.running()
    assert (running["id"], running["stoploss"]) == (trade_id, 97020)


def test_a_saved_trade_survives_what_would_have_killed_it(venue: Simulator, rest: Rest) -> None:
    trade_id = rest.trade()["id"]
    rest.post("/futures/isolated/trade/add-margin", id=trade_id, amount=50000)
    venue.set_price(90000)
    assert [running["id"] for running in rest.running()] == [trade_id]
