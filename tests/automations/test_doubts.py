"""A price in doubt: one bad tick moves nothing, a true fall acts within one further tick."""

from dataclasses import replace
from typing import Any

import pytest

from automations.market import Market
from automations.triggers import Direction
from exchange.market import Quote
from exchange.money import UsdPerBtc
from exchange.simulator.paper import Push
from exchange.simulator.running import Simulator
from exchange.topics import INDEX, LAST_PRICE, TICKER
from tests.automations.markets import (
    Fired,
    Open,
    fired,
    live,
    market_at,
    script,
    shown,
    ticker,
    wait_for_price,
)
from tests.automations.test_triggers import trigger
from tests.exchange.places import endpoints_of
from tests.exchange.scripted import Script
from tests.waiting import wait_until

__all__ = ["fired", "market_at", "script"]


BAD = [94_000, 106_000, 70_000, 130_000]
"""While the market stands still at 100,000."""
REST = "/v3/futures/ticker"


def not_believed(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [vars(each) for each in caplog.records if each.getMessage() == "price not believed"]
    return [(each["what"], each["price"]) for each in found]


def numbers(quote: Quote | None) -> list[UsdPerBtc | None]:
    assert quote is not None
    return [quote.price, quote.index]


def armed_all_around(market: Market) -> None:
    market.crossing.arm(
        1,
        [
            replace(trigger(level, direction), by_index=by_index)
            for level, direction in ((99_000, Direction.FALLING), (101_000, Direction.RISING))
            for by_index in (True, False)
        ],
    )


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("push", ["lastPrice", "ticker", "index"])
@pytest.mark.parametrize("rest", ["answers", "is down"])
def test_a_single_push_moves_nothing_while_the_market_stands_still(
    *, venue: Simulator, market_at: Open, fired: Fired, caplog: Any, bad: int, push: str, rest: str
) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    wait_until(lambda: market.newest and market.newest.index, what="the index is known")
    if rest == "is down":
        venue.fault("status", status=503, path=REST, next=1_000)
    armed_all_around(market)

    venue.push(Push(push), bad)

    what = "index" if push == "index" else "price"
    wait_until(lambda: not_believed(caplog) == [(what, f"{bad}")], what="it is told, once")
    assert fired == []
    assert numbers(shown()) == numbers(market.newest) == [100_000, 100_000]


def test_a_true_fall_in_one_tick_is_confirmed_by_rest(
    venue: Simulator, market_at: Open, fired: Fired, caplog: pytest.LogCaptureFixture
) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    venue.fault("missing", topic=TICKER, probability=1)
    armed_all_around(market)

    venue.set_price(94_000)

    wait_until(lambda: len(fired) == 2, what="both falling triggers fired")
    assert wait_for_price(94_000).index == 94_000
    assert not_believed(caplog) == []


@pytest.mark.parametrize(
    ("topic", "prices"),
    [
        pytest.param(LAST_PRICE, [94_000], id="the ticker repeats it"),
        pytest.param(TICKER, [94_000, 93_900], id="the next tick"),
        pytest.param(TICKER, [94_000, 91_000], id="tick follows tick"),
    ],
)
def test_a_true_fall_acts_within_one_further_tick(
    venue: Simulator, market_at: Open, fired: Fired, topic: str, prices: list[int]
) -> None:
    """REST is down; `topic` is missing after the first tick, and no more ticks come than `prices`."""
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    venue.fault("status", status=503, path=REST, next=1_000)
    armed_all_around(market)
    if topic == TICKER:
        venue.fault("missing", topic=TICKER, probability=1)

    venue.set_price(prices[0])
    venue.fault("missing", topic=INDEX, probability=1)
    for price in prices[1:]:
        venue.set_price(price)

    wait_until(lambda: len(fired) == 2, what="both falling triggers fired")
    assert {int(tick.price) for _, tick in fired} <= set(prices)


def test_of_prices_in_doubt_rest_is_asked_one_call_at_a_time(
    venue: Simulator, market_at: Open, script: Script
) -> None:
    script.then(*[replace(ticker(100_000, 2_000_000_000), delay_s=0.4)] * 20)
    endpoints = replace(endpoints_of(venue), api_url=script.endpoints.api_url)
    market = live(market_at(endpoints))
    wait_for_price(100_000)

    for bad in BAD * 2:
        venue.push(Push.LAST_PRICE, bad)
    venue.push(Push.LAST_PRICE, 99_500)

    wait_for_price(99_500)
    assert len(script.requests) <= 1
    assert market.newest is not None


def test_the_index_alone_beyond_a_level_makes_a_look_at_a_guard(
    venue: Simulator, market_at: Open, fired: Fired
) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    armed_all_around(market)

    venue.set_index(98_900)

    wait_until(lambda: fired, what="the guard's trigger fired")
    found, tick = fired[0]
    assert found.by_index
    assert found.level.price == 99_000
    assert numbers(tick) == numbers(shown()) == [100_000, 98_900]
    assert len(market.crossing) == 3, "what goes by the last price is not reached"


def test_an_index_that_is_not_heard_any_more_is_not_known(venue: Simulator, market_at: Open) -> None:
    market = live(market_at(endpoints_of(venue), silence_s=1.5))
    wait_until(lambda: market.newest and market.newest.index, what="the index is known")
    venue.fault("missing", topic=INDEX, probability=1)
    venue.fault("null_price", topic=TICKER, probability=1)

    wait_until(lambda: market.is_silent, what="nothing was heard for long enough")
    venue.set_price(99_500)

    wait_until(lambda: market.newest and market.newest.price == 99_500, what="a price without index")
    assert market.newest is not None
    assert market.newest.index is None
