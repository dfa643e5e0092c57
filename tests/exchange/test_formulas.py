"""Every numeric example of section 6 of the API notes, and what must hold for all numbers."""

from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exchange import formulas
from exchange.formulas import Side
from exchange.money import MAX_PRICE, Sats, Usd, UsdPerBtc, nearest_tick

BUY, SELL = Side.BUY, Side.SELL


def usd(number: int) -> Usd:
    return Usd(number)


def price(number: int | str) -> UsdPerBtc:
    return UsdPerBtc(Decimal(number))


def two_places(value: Fraction) -> Decimal:
    return Decimal(round(value * 100)) / 100


@pytest.mark.parametrize(
    ("side", "at", "raw", "booked"),
    [
        pytest.param(BUY, 105000, "47619.05", 47619, id="long wins as the price rises"),
        pytest.param(BUY, 95000, "-52631.58", -52632, id="long loses as it falls"),
        pytest.param(SELL, 95000, "52631.58", 52632, id="short wins as it falls"),
        pytest.param(SELL, 105000, "-47619.05", -47619, id="short loses as it rises"),
    ],
)
def test_profit_and_loss(side: Side, at: int, raw: str, booked: int) -> None:
    assert two_places(formulas.profit(side, usd(1000), 100000, at)) == Decimal(raw)
    assert formulas.profit_sats(side, usd(1000), 100000, at) == booked


@pytest.mark.parametrize(
    ("quantity", "entry", "leverage", "margin"),
    [
        pytest.param(1, "100000", "100", 10, id="official vector"),
        pytest.param(1000, "100000", "10", 100000, id="round"),
        pytest.param(1000, "64321.5", "25", 62187, id="floored"),
        pytest.param(100, "104863.5", "7.73", 12336, id="example of the exchange's own page"),
    ],
)
def test_margin_of_a_size(quantity: int, entry: str, leverage: str, margin: int) -> None:
    assert formulas.margin_for(usd(quantity), price(entry), Decimal(leverage)) == margin


@pytest.mark.parametrize(
    ("margin", "leverage", "entry", "quantity"),
    [
        pytest.param(10000, "10", "100000", 100, id="round"),
        pytest.param(12336, "7.73", "104863.5", 99, id="the floored margin of 100 loses a contract"),
    ],
)
def test_size_of_a_margin(margin: int, leverage: str, entry: str, quantity: int) -> None:
    assert formulas.quantity_for(Sats(margin), price(entry), Decimal(leverage)) == quantity


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "leverage", "margin", "liquidation", "opening", "closing"),
    [
        pytest.param(BUY, 1, "100000", 100, 10, "99010", 1, 1, id="official vector"),
        pytest.param(BUY, 1000, "100000", 10, 100000, "90909", 1000, 1100, id="long"),
        pytest.param(SELL, 1000, "100000", 10, 100000, "111111", 1000, 900, id="short"),
        pytest.param(BUY, 10000, "64321.5", 25, 621876, "61847.5", 15546, 16168, id="odd numbers"),
    ],
)
def test_margin_liquidation_and_reserves_of_a_new_trade(
    *,
    side: Side,
    quantity: int,
    entry: str,
    leverage: int,
    margin: int,
    liquidation: str,
    opening: int,
    closing: int,
) -> None:
    assert formulas.margin_for(usd(quantity), price(entry), leverage) == margin
    level = formulas.liquidation_price(side, usd(quantity), price(entry), Sats(margin))
    assert level == price(liquidation)
    assert formulas.opening_reserve(usd(quantity), price(entry)) == opening
    assert formulas.closing_reserve(usd(quantity), level) == closing


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "margin", "liquidation"),
    [
        pytest.param(BUY, 1, "100000", 10, "99010", id="long at 100x"),
        pytest.param(SELL, 1, "100000", 10, "101010", id="short at 100x"),
        pytest.param(SELL, 1000, "110000", 909090, "100000000", id="a short at 1x has none"),
        pytest.param(SELL, 1000, "110000", 999999, "100000000", id="nor with more than its notional"),
        pytest.param(BUY, 10, "90000", 1111, "81819", id="nearest half dollar"),
        pytest.param(BUY, 100, "104863.5", 12336, "92852", id="example of the exchange's own page"),
    ],
)
def test_liquidation_price(
    side: Side, quantity: int, entry: str, margin: int, liquidation: str
) -> None:
    level = formulas.liquidation_price(side, usd(quantity), price(entry), Sats(margin))
    assert level == price(liquidation)


@pytest.mark.parametrize(
    ("at", "profit", "fee"), [("105000", 47619, 952), ("95000", -52632, 1052), ("90909", -100001, 1100)]
)
def test_profit_and_fee_of_closing_the_example(at: str, profit: int, fee: int) -> None:
    assert formulas.profit_sats(BUY, usd(1000), 100000, price(at)) == profit
    assert formulas.fee(usd(1000), price(at), formulas.FIRST_TIER_FEE_RATE) == fee


@pytest.mark.parametrize(
    ("side", "maintenance", "at", "percent"),
    [
        pytest.param(BUY, 1100, 100000, "1.088", id="long at entry"),
        pytest.param(BUY, 1100, 91000, "50.025", id="long near liquidation"),
        pytest.param(SELL, 900, 105000, "1.689", id="short in loss"),
        pytest.param(SELL, 900, 111000, "49.975", id="short near liquidation"),
        pytest.param(BUY, 1100, 90000, "100", id="beyond liquidation it stays at one"),
    ],
)
def test_margin_ratio(side: Side, maintenance: int, at: int, percent: str) -> None:
    profit = formulas.profit(side, usd(1000), 100000, at)
    ratio = formulas.margin_ratio(Sats(100000), Sats(maintenance), profit)
    assert round(ratio * 100_000) == Decimal(percent) * 1000


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "margin", "maintenance", "ratio", "profit", "at"),
    [
        pytest.param(BUY, 1000, "100000", 100000, 1100, "0.5", -98900, "91000.09", id="long at half"),
        pytest.param(BUY, 1000, "100000", 100000, 1100, "0.05", -79100, "92669.82", id="long early"),
        pytest.param(SELL, 1000, "100000", 100000, 900, "0.1", -91900, "110120.03", id="short"),
        pytest.param(
            BUY, 10000, "64321.5", 621876, 16168, "0.25", -573372, "62033.69", id="odd numbers"
        ),
    ],
)
def test_price_at_a_margin_ratio(
    *,
    side: Side,
    quantity: int,
    entry: str,
    margin: int,
    maintenance: int,
    ratio: str,
    profit: int,
    at: str,
) -> None:
    target = formulas.profit_at_margin_ratio(Sats(margin), Sats(maintenance), Decimal(ratio))
    found = formulas.price_at_profit(side, usd(quantity), price(entry), target)
    assert target == profit
    assert found is not None
    assert two_places(found) == Decimal(at)


@pytest.mark.parametrize(
    ("ratio", "long_percent", "short_percent"),
    [
        ("0.01", "10.99", "9.01"),
        ("0.02", "5.15", "4.67"),
        ("0.05", "1.94", "1.86"),
        ("0.1", "0.91", "0.89"),
        ("0.25", "0.30", "0.30"),
        ("0.5", "0.10", "0.10"),
    ],
)
def test_the_ratio_depends_on_the_distance_to_liquidation_only(
    ratio: str, long_percent: str, short_percent: str
) -> None:
    quantity, entry = usd(500_000_000), 100000
    for side, percent in ((BUY, long_percent), (SELL, short_percent)):
        margin = formulas.margin_for(quantity, entry, 10)
        liquidation = formulas.price_at_profit(side, quantity, entry, -margin)
        assert liquidation is not None
        maintenance = formulas.closing_reserve(quantity, liquidation)
        target = formulas.profit_at_margin_ratio(margin, maintenance, Decimal(ratio))
        level = formulas.price_at_profit(side, quantity, entry, target)
        assert level is not None
        assert two_places(abs(level / liquidation - 1) * 100) == Decimal(percent)


def test_margin_that_brings_the_ratio_down() -> None:
    profit = formulas.profit(BUY, usd(1000), 100000, 92000)
    assert two_places(profit) == Decimal("-86956.52")
    ratio = formulas.margin_ratio(Sats(100000 + 7857), Sats(1100), profit)
    assert round(ratio * 1_000_000) == 49_999


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "margin", "levels"),
    [
        pytest.param(BUY, 1000, "100000", 100000, ("95238.10", "102040.82", "111111.11"), id="long"),
        pytest.param(SELL, 1000, "100000", 100000, ("105263.16", "98039.22", "90909.09"), id="short"),
        pytest.param(
            BUY, 10000, "64321.5", 621876, ("63060.29", "64840.22", "67001.56"), id="odd numbers"
        ),
    ],
)
def test_price_at_a_share_of_the_margin(
    side: Side, quantity: int, entry: str, margin: int, levels: tuple[str, ...]
) -> None:
    for share, level in zip(("-0.5", "0.2", "1"), levels, strict=True):
        target = Fraction(share) * margin
        found = formulas.price_at_profit(side, usd(quantity), price(entry), target)
        assert found is not None
        assert two_places(found) == Decimal(level)


def test_a_long_never_gains_its_whole_size() -> None:
    assert formulas.price_at_profit(BUY, usd(1000), 100000, 1_000_000) is None


def test_break_even_pays_both_fees() -> None:
    rate = formulas.FIRST_TIER_FEE_RATE
    assert two_places(formulas.break_even(BUY, 100000, rate)) == Decimal("100200.20")
    assert two_places(formulas.break_even(SELL, 100000, rate)) == Decimal("99800.20")


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "margin", "added", "leverage", "liquidation"),
    [
        pytest.param(BUY, 1000, "100000", 100000, 50000, "6.6667", "86956.5", id="long"),
        pytest.param(SELL, 1000, "100000", 100000, 50000, "6.6667", "117647", id="short"),
        pytest.param(BUY, 10000, "64321.5", 621876, 100000, "21.5368", "61467.5", id="odd numbers"),
        pytest.param(BUY, 1000, "100000", 100000, 900000, "1.0000", "50000", id="down to 1x"),
    ],
)
def test_added_margin(
    *, side: Side, quantity: int, entry: str, margin: int, added: int, leverage: str, liquidation: str
) -> None:
    total = Sats(margin + added)
    found = formulas.leverage_of(usd(quantity), price(entry), total)
    assert Decimal(round(found * 10_000)) / 10_000 == Decimal(leverage)
    level = formulas.liquidation_price(side, usd(quantity), price(entry), total)
    assert level == price(liquidation)


def test_margin_can_be_added_down_to_leverage_one() -> None:
    assert formulas.largest_margin(usd(1000), 100000) == 1_000_000


@pytest.mark.parametrize(
    ("side", "market", "amount", "entry", "margin", "leverage", "liquidation"),
    [
        pytest.param(BUY, 110000, 40000, "104166.5", 100000, "9.60002", "94339.5", id="1 part of gain"),
        pytest.param(BUY, 110000, 90909, "110000", 100000, "9.09091", "99099", id="2 whole gain"),
        pytest.param(BUY, 110000, 150000, "110000", 40909, "22.22227", "105263", id="3 and margin"),
        pytest.param(BUY, 98000, 40000, "100000", 60000, "16.66667", "94339.5", id="4 in loss"),
        pytest.param(SELL, 92000, 30000, "97087.5", 100000, "10.29999", "107527", id="5 part of gain"),
        pytest.param(SELL, 92000, 86956, "92000", 100000, "10.86957", "101321.5", id="6 whole gain"),
        pytest.param(SELL, 92000, 150000, "92000", 36956, "29.41218", "95238", id="7 and margin"),
        pytest.param(SELL, 102000, 40000, "100000", 60000, "16.66667", "106383", id="8 in loss"),
    ],
)
def test_cash_in(
    *, side: Side, market: int, amount: int, entry: str, margin: int, leverage: str, liquidation: str
) -> None:
    after = formulas.cash_in(
        side, usd(1000), price(100000), Sats(100000), amount=Sats(amount), market=price(market)
    )
    assert (after.entry, after.margin) == (price(entry), margin)
    assert after.from_profit + after.from_margin == amount
    found = formulas.leverage_of(usd(1000), after.entry, after.margin)
    assert Decimal(round(found * 100_000)) / 100_000 == Decimal(leverage)
    level = formulas.liquidation_price(side, usd(1000), after.entry, after.margin)
    assert level == price(liquidation)


def test_largest_cash_in_keeps_leverage_at_its_limit() -> None:
    most = formulas.largest_cash_in(
        BUY, usd(1000), price(100000), Sats(100000), market=price(98000), leverage=100
    )
    assert most == 90000


@pytest.mark.parametrize(
    ("side", "market", "liquidation", "amount"),
    [
        pytest.param(BUY, 95000, 85000, 76472, id="long in loss: add"),
        pytest.param(BUY, 110000, 95000, -47368, id="long in gain: cash in"),
        pytest.param(SELL, 105000, 120000, 66667, id="short in loss: add"),
    ],
)
def test_margin_that_moves_liquidation(side: Side, market: int, liquidation: int, amount: int) -> None:
    found = formulas.margin_to_move_liquidation(
        side, usd(1000), price(100000), Sats(100000), market=market, liquidation=liquidation
    )
    assert found == amount


def test_cashing_in_the_computed_amount_gives_the_wanted_liquidation() -> None:
    after = formulas.cash_in(
        BUY, usd(1000), price(100000), Sats(100000), amount=Sats(47368), market=price(110000)
    )
    assert after.entry == price("104972.5")
    assert formulas.liquidation_price(BUY, usd(1000), after.entry, after.margin) == 95000


@pytest.mark.parametrize(
    ("side", "stop", "fits"),
    [
        pytest.param(BUY, 90909, True, id="at liquidation is allowed"),
        pytest.param(BUY, 90908, False, id="beyond liquidation is not"),
        pytest.param(BUY, 99999, True, id="below the market"),
        pytest.param(BUY, 100000, False, id="at the market is not"),
        pytest.param(SELL, 111111, True, id="short: at liquidation"),
        pytest.param(SELL, 111112, False, id="short: beyond liquidation"),
        pytest.param(SELL, 100000, False, id="short: at the market"),
    ],
)
def test_where_a_stop_may_lie(side: Side, stop: int, *, fits: bool) -> None:
    liquidation = 90909 if side is BUY else 111111
    found = formulas.stoploss_fits(side, stop, liquidation=liquidation, reference=100000)
    assert found is fits


@pytest.mark.parametrize(
    ("side", "target", "fits"),
    [(BUY, 100001, True), (BUY, 100000, False), (SELL, 99999, True), (SELL, 100000, False)],
)
def test_where_a_take_profit_may_lie(side: Side, target: int, *, fits: bool) -> None:
    assert formulas.takeprofit_fits(side, target, reference=100000) is fits


@pytest.mark.parametrize(
    ("side", "distance", "reference", "level"),
    [
        (BUY, "0.02", "100000", "98000"),
        (BUY, "0.02", "103217.5", "101153"),
        (SELL, "0.02", "100000", "102000"),
        (SELL, "0.02", "95000", "96900"),
        (BUY, "0.001", "100000", "99900"),
        (BUY, "0.001", "100500", "100399.5"),
        (BUY, "1", "100000", None),
    ],
)
def test_where_a_trailing_stop_lies(
    side: Side, distance: str, reference: str, level: str | None
) -> None:
    found = formulas.trailing_level(side, Decimal(distance), price(reference))
    assert found == (None if level is None else price(level))


@pytest.mark.parametrize(
    ("side", "quantity", "fixing", "rate", "fee"),
    [
        pytest.param(BUY, 10, "30000", "0.0001", 3, id="official example"),
        pytest.param(BUY, 1000, "100000", "0.0001", 100, id="a long pays a positive rate"),
        pytest.param(SELL, 1000, "100000", "0.0001", -100, id="a short receives it"),
        pytest.param(SELL, 10000, "64321.5", "-0.00005", 777, id="a short pays a negative rate"),
    ],
)
def test_funding_fee(side: Side, quantity: int, fixing: str, rate: str, fee: int) -> None:
    assert formulas.funding_fee(side, usd(quantity), price(fixing), Decimal(rate)) == fee


def test_funding_paid_moves_leverage_and_liquidation() -> None:
    leverage = formulas.leverage_of(usd(1000), 100000, Sats(99900))
    assert round(leverage * 100_000) == 1_001_001
    assert formulas.liquidation_price(BUY, usd(1000), 100000, Sats(99900)) == Decimal("90917.5")


@pytest.mark.parametrize(
    ("side", "quantity", "entry", "leverage", "margin", "running", "maintenance", "liquidation"),
    [
        pytest.param(BUY, 1000, "100000", 10, 500000, 100000, 1500, "66733.5", id="long"),
        pytest.param(SELL, 1000, "100000", 10, 500000, 100000, 1500, "199402", id="short"),
        pytest.param(BUY, 2000, "64321.5", 20, 300000, 155469, 4664, "58742", id="odd numbers"),
    ],
)
def test_margins_of_a_cross_position(
    *,
    side: Side,
    quantity: int,
    entry: str,
    leverage: int,
    margin: int,
    running: int,
    maintenance: int,
    liquidation: str,
) -> None:
    assert formulas.margin_for(usd(quantity), price(entry), leverage) == running
    assert formulas.cross_maintenance(usd(quantity), price(entry)) == maintenance
    level = formulas.cross_liquidation(side, usd(quantity), price(entry), Sats(margin))
    assert level == price(liquidation)


def test_entry_of_a_cross_position_after_adding_and_after_losing_a_part() -> None:
    assert formulas.average_entry(usd(1000), 100000, usd(2000), 50000) == 60000
    rest = formulas.entry_after_losing_part(usd(1000), 100000, usd(400), 90000)
    assert rest == 108000
    assert two_places(formulas.profit(BUY, usd(600), rest, 90000)) == Decimal("-111111.11")


@pytest.mark.parametrize(
    ("quantity", "entry", "closed", "at"),
    [
        pytest.param(2, 2, 1, 1, id="a long's whole loss is the size of its rest"),
        pytest.param(1000, 100000, 500, 40000, id="a long's whole loss is more"),
        pytest.param(1000, 100000, 999, 99000, id="nearly all of a long, at a small loss"),
        pytest.param(100000, 100, 99999, 200, id="a short's rest would begin below the lowest price"),
        pytest.param(1000, 100000, 949, 94901, id="a long's rest would begin above the highest"),
    ],
)
def test_a_loss_that_no_entry_carries_is_told_from_one_that_is_carried(
    quantity: int, entry: int, closed: int, at: int
) -> None:
    assert formulas.entry_after_losing_part(usd(quantity), entry, usd(closed), at) is None


def test_profit_and_fee_of_closing_a_part_of_a_cross_position() -> None:
    assert formulas.profit_sats(BUY, usd(400), 100000, 105000) == 19048
    assert formulas.fee(usd(400), 105000, formulas.FIRST_TIER_FEE_RATE) == 380
    assert formulas.fee(usd(400), 90000, formulas.FIRST_TIER_FEE_RATE) == 444


@pytest.mark.parametrize(
    ("leverage", "most"),
    [(1, 15_000_000), (2, 14_949_495), (10, 14_545_455), (50, 12_525_255), (100, 10_000_000)],
)
def test_largest_cross_position(leverage: int, most: int) -> None:
    assert formulas.largest_cross_position(leverage) == most


QUARTER = Decimal("0.25")
sides = st.sampled_from(Side)
quantities = st.integers(1, 500_000).map(Usd)
prices = st.integers(2_000, 2_000_000).map(lambda halves: UsdPerBtc(Decimal(halves) / 2))
leverages = st.integers(100, 10_000).map(lambda cents: Decimal(cents) / 100)
shares = st.integers(1, 1000).map(lambda thousandths: Fraction(thousandths, 1000))


@given(quantities, prices, prices)
def test_a_long_and_a_short_cancel_out(quantity: Usd, entry: UsdPerBtc, at: UsdPerBtc) -> None:
    won = formulas.profit(BUY, quantity, entry, at)
    assert won + formulas.profit(SELL, quantity, entry, at) == 0
    paid = formulas.funding_fee(BUY, quantity, at, Decimal("0.00017"))
    assert paid + formulas.funding_fee(SELL, quantity, at, Decimal("0.00017")) == 0


@given(
    side=sides,
    quantity=quantities,
    entry=prices,
    at=prices | shares,
    leverage=leverages,
    target=leverages,
)
def test_whole_numbers_give_what_the_notes_say_in_fractions(
    *,
    side: Side,
    quantity: Usd,
    entry: UsdPerBtc,
    at: UsdPerBtc | Fraction,
    leverage: Decimal,
    target: Decimal,
) -> None:
    size = Fraction(quantity * 100_000_000)
    profit = side.sign * (size / Fraction(entry) - size / Fraction(at))
    inverse = 1 / Fraction(entry) - side.sign * Fraction(target) / size

    assert formulas.profit(side, quantity, entry, at) == profit
    assert formulas.margin_for(quantity, entry, leverage) == floor(
        size / Fraction(entry) / Fraction(leverage)
    )
    found = formulas.price_at_profit(side, quantity, entry, target)
    assert found == (1 / inverse if inverse > 0 else None)


@given(side=sides, quantity=st.integers(2, 500_000), entry=prices, at=prices, data=st.data())
def test_a_carried_loss_is_the_whole_loss(
    *, side: Side, quantity: int, entry: UsdPerBtc, at: UsdPerBtc, data: st.DataObject
) -> None:
    loss = formulas.profit(side, usd(quantity), entry, at)
    assume(loss < 0)
    closed = data.draw(st.integers(1, quantity - 1))
    left = usd(quantity - closed)

    carried = formulas.entry_after_losing_part(usd(quantity), entry, usd(closed), at)

    if carried is None:
        size_at_its_entry = formulas.notional(left, at) + side.sign * loss
        assert not left <= size_at_its_entry <= left * Fraction(100_000_000)
    else:
        near = [formulas.profit(side, left, carried + by, at) for by in (-QUARTER, QUARTER)]
        assert min(near) <= loss <= max(near), "but for the rounding to the grid"


@given(sides, quantities, prices, prices)
def test_price_to_profit_to_price_returns(
    side: Side, quantity: Usd, entry: UsdPerBtc, at: UsdPerBtc
) -> None:
    profit = formulas.profit(side, quantity, entry, at)
    assert formulas.price_at_profit(side, quantity, entry, profit) == at


@given(sides, quantities, prices, leverages, prices)
def test_price_to_ratio_to_price_returns(
    side: Side, quantity: Usd, entry: UsdPerBtc, leverage: Decimal, at: UsdPerBtc
) -> None:
    margin = formulas.margin_for(quantity, entry, leverage)
    maintenance = Sats(formulas.closing_reserve(quantity, entry) + 1)
    profit = formulas.profit(side, quantity, entry, at)
    ratio = formulas.margin_ratio(margin, maintenance, profit)
    if profit > -margin:
        target = formulas.profit_at_margin_ratio(margin, maintenance, ratio)
        assert formulas.price_at_profit(side, quantity, entry, target) == at
    else:
        assert ratio == 1


@given(sides, quantities, prices, leverages, st.integers(1, 10_000_000))
def test_adding_margin_never_brings_liquidation_nearer(
    side: Side, quantity: Usd, entry: UsdPerBtc, leverage: Decimal, added: int
) -> None:
    margin = formulas.margin_for(quantity, entry, leverage)
    before = formulas.liquidation_price(side, quantity, entry, margin)
    after = formulas.liquidation_price(side, quantity, entry, Sats(margin + added))
    assert side.sign * (before - after) >= 0
    assert after <= MAX_PRICE


@given(
    side=sides,
    quantity=quantities,
    entry=prices,
    leverage=leverages,
    market=prices,
    amount=st.integers(1, 10_000_000),
)
def test_cash_in_takes_exactly_the_amount_and_leaves_no_gain_behind_while_margin_pays(
    *, side: Side, quantity: Usd, entry: UsdPerBtc, leverage: Decimal, market: UsdPerBtc, amount: int
) -> None:
    margin = formulas.margin_for(quantity, entry, leverage)
    after = formulas.cash_in(side, quantity, entry, margin, amount=Sats(amount), market=market)
    assert after.from_profit + after.from_margin == amount
    assert after.margin == margin - after.from_margin
    if after.from_margin:
        assert formulas.profit(side, quantity, after.entry, market) <= 0


@given(sides, prices, st.integers(1, 500).map(lambda thousandths: Decimal(thousandths) / 1000))
def test_a_trailing_stop_lies_behind_the_price(
    side: Side, reference: UsdPerBtc, distance: Decimal
) -> None:
    level = formulas.trailing_level(side, distance, reference)
    assert level is not None
    assert side.sign * (reference - level) > 0
    assert nearest_tick(Fraction(level)) == level
