"""One network's price: from the stream, else by REST, never backwards, and weighed each time."""

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from automations.crossing import Range
from automations.market import TOPICS
from automations.triggers import Direction, Trigger
from exchange.config import Endpoints
from exchange.market import Quote, Source
from exchange.position import PositionId
from exchange.protocol import State
from exchange.simulator.running import Simulator
from tests.automations.markets import (
    Fired,
    Open,
    fired,
    live,
    market_at,
    nowhere,
    script,
    shown,
    ticker,
    wait_for_price,
)
from tests.automations.test_triggers import trigger
from tests.exchange.places import endpoints_of
from tests.exchange.scripted import Answer, Script, scripted_exchange
from tests.waiting import wait_until

__all__ = ["fired", "market_at", "script"]


def test_a_price_of_the_stream_is_shown_and_fires_what_it_reached(
    venue: Simulator, market_at: Open, fired: Fired
) -> None:
    market = live(market_at(endpoints_of(venue)))
    market.crossing.arm(1, [trigger(95_000)])

    venue.set_price(96_000)
    wait_for_price(96_000)
    assert fired == []
    venue.set_price(94_500)

    assert wait_for_price(94_500).source is Source.STREAM
    wait_until(lambda: fired, what="the trigger fired")
    ((_, tick),) = fired
    assert tick.price == 94_500
    assert tick.time_ms == venue.ticks()[-1].time


def test_prices_come_over_tls_by_a_certificate_of_our_own(market_at: Open) -> None:
    with Simulator(tls=True) as venue:
        endpoints = replace(endpoints_of(venue), ca_file=str(venue.certificate))
        live(market_at(endpoints))

        venue.set_price(96_000)

        assert wait_for_price(96_000).source is Source.STREAM


def test_a_price_that_stands_still_stays_known(venue: Simulator, market_at: Open) -> None:
    market = live(market_at(endpoints_of(venue), silence_s=1.6))
    first = wait_for_price(100_000)

    def renewed() -> bool:
        quote = shown()
        return quote is not None and quote.at - first.at > timedelta(seconds=1.6)

    wait_until(renewed, what="the ticker repeated the price")
    assert not market.is_silent


def test_a_market_that_hears_nothing_asks_rest_until_the_stream_is_back(
    venue: Simulator, market_at: Open, caplog: pytest.LogCaptureFixture
) -> None:
    endpoints = nowhere(endpoints_of(venue).api_url)
    market = market_at(endpoints, silence_s=0.2)
    wait_until(lambda: market.is_silent, what="it notices")

    market.poll_if_silent()
    assert wait_for_price(100_000).source is Source.REST
    venue.set_price(99_000)
    market.poll_if_silent()
    wait_for_price(99_000)

    port = int(endpoints.stream_url.rpartition(":")[2])
    with Simulator(port=port) as back, caplog.at_level(logging.INFO):
        wait_until(lambda: market.state is State.LIVE, what="it is connected again")
        back.set_price(98_000)
        assert wait_for_price(98_000).source is Source.STREAM
        back.set_price(97_000)
        wait_for_price(97_000)

    told = [
        (record.getMessage(), vars(record)["network"], vars(record)["what"])
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name == "automations.market"
    ]
    assert told == [
        ("fallback_activated", "paper", "price"),
        ("stream_recovered", "paper", "price"),
    ]


def test_a_market_that_hears_its_stream_does_not_ask_rest(venue: Simulator, market_at: Open) -> None:
    with scripted_exchange() as script:
        endpoints = Endpoints(
            api_url=script.endpoints.api_url, stream_url=endpoints_of(venue).stream_url
        )
        market = live(market_at(endpoints))

        market.poll_if_silent()

        assert script.requests == []


@pytest.mark.parametrize(
    ("first_s", "second_s", "counts"),
    [
        pytest.param(1000, 1001, True, id="a newer one"),
        pytest.param(1000, 1000, True, id="one of the same moment"),
        pytest.param(1000, 999, False, id="an older one says nothing new"),
        pytest.param(1000, 990, False, id="one that was long on its way"),
        pytest.param(1_000_000, 1000, True, id="a stamp from the future silences nothing"),
    ],
)
def test_the_price_never_goes_back_in_time(
    *, market_at: Open, script: Script, fired: Fired, first_s: int, second_s: int, counts: bool
) -> None:
    script.then(ticker(95_000, first_s), ticker(94_000, second_s), ticker(95_500, 2_000_000))
    market = market_at(nowhere(script.endpoints.api_url), silence_s=0)
    market.crossing.arm(1, [trigger(94_000), trigger(95_500, Direction.RISING)])

    for _ in range(3):
        market.poll_if_silent()

    wait_until(lambda: len(fired) == 1 + counts, what="the last one is seen")
    assert len(market.crossing) == (not counts)
    assert sorted(tick.price for _, tick in fired) == ([94_000, 95_500] if counts else [95_500])


def test_a_price_that_is_not_known_changes_nothing(
    market_at: Open, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    script.then(ticker(95_000, 1000), ticker(None, 1001), Answer(content="rubbish"))
    market = market_at(nowhere(script.endpoints.api_url), silence_s=0)

    for _ in range(3):
        market.poll_if_silent()

    wait_for_price(95_000)
    errors = [vars(each)["error"] for each in caplog.records if each.getMessage() == "price not read"]
    assert errors[0] == "LN Markets gives no price at the moment"
    assert "cannot read" in errors[1]


def test_nobody_asks_rest_while_another_does(market_at: Open, script: Script) -> None:
    """An exchange that takes seconds to answer must not occupy every reader there is."""
    script.then(Answer(content=ticker(95_000, 1000).content, delay_s=0.5))
    market = market_at(nowhere(script.endpoints.api_url), silence_s=0)
    asking = threading.Thread(target=market.poll_if_silent)
    asking.start()
    wait_until(lambda: script.requests, what="the first question arrived")

    market.poll_if_silent()

    asking.join(5)
    assert len(script.requests) == 1
    assert wait_for_price(95_000).price == Decimal(95_000)


def test_a_crossed_trigger_finds_its_price_in_the_live_view(venue: Simulator, market_at: Open) -> None:
    found: list[Quote | None] = []
    market = live(market_at(endpoints_of(venue), fire=lambda *_: found.append(shown())))
    market.crossing.arm(1, [trigger(95_000)])

    venue.set_price(94_000)

    wait_until(lambda: found, what="the trigger fired")
    assert found[0] is not None
    assert found[0].price == 94_000


def test_a_queue_that_blocks_delays_neither_prices_nor_what_is_armed_meanwhile(
    venue: Simulator, market_at: Open
) -> None:
    go_on, begun = threading.Event(), threading.Event()
    fired: list[int] = []

    def slowly(trigger: Trigger, _tick: Quote) -> None:
        begun.set()
        go_on.wait(30)
        fired.append(trigger.account_id)

    market = live(market_at(endpoints_of(venue), fire=slowly))
    market.crossing.arm(1, [trigger(95_000)])
    venue.set_price(94_000)
    assert begun.wait(20)

    for price in (93_000, 92_000):
        venue.set_price(price)
        assert wait_for_price(price).source is Source.STREAM
    market.crossing.arm(2, [trigger(91_500, account=2)])
    market.crossing.arm(3, [replace(trigger(91_000, account=3), urgent=True)])
    venue.set_price(91_000)
    wait_for_price(91_000)
    wait_until(lambda: len(market.crossing) == 0, what="both are on their way")
    assert fired == []
    go_on.set()

    wait_until(lambda: fired == [1, 3, 2], what="all have left, the urgent one first")


def test_what_fired_fires_again_by_time_without_any_tick(
    venue: Simulator, market_at: Open, fired: Fired
) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    for topic in TOPICS:
        venue.fault("missing", topic=topic, probability=1)

    market.crossing.arm(1, [trigger(100_000)])
    market.crossing.look(Range.of(wait_for_price(100_000)))

    wait_until(lambda: len(fired) >= 2, what="it fired again")


@pytest.mark.parametrize("wakes", [True, False])
def test_what_is_armed_beyond_the_price_fires_without_any_tick(
    venue: Simulator, market_at: Open, fired: Fired, *, wakes: bool
) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    for topic in TOPICS:
        venue.fault("missing", topic=topic, probability=1)

    market.crossing.arm(1, [trigger(101_000)], wakes=wakes)

    wait_until(lambda: fired, what="it fired")
    assert fired[0][1].price == 100_000


def test_a_cooldown_that_ends_wakes_who_looks(venue: Simulator, market_at: Open, fired: Fired) -> None:
    market = live(market_at(endpoints_of(venue)))
    wait_for_price(100_000)
    market.crossing.arm(1, [trigger(101_000)])
    wait_until(lambda: len(fired) == 1, what="it fired by the ticker")

    market.crossing.cool_down(7, PositionId("p"), 0.1)

    wait_until(lambda: len(fired) >= 2, what="it fired again")


def test_a_stopped_market_is_closed_and_its_threads_are_gone(venue: Simulator, market_at: Open) -> None:
    market = live(market_at(endpoints_of(venue)))

    market.stop()

    assert market.state is State.CLOSED
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"prices paper", "triggers paper", "departures paper", "doubts paper"}
