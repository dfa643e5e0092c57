"""One network's price: from the stream, else by REST, never backwards, and weighed each time."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from accounts.gateway import admission, live_view, rest_client, server_clock
from automations.crossing import Range
from automations.market import TOPICS, Market
from automations.triggers import Direction, Trigger
from exchange.config import Endpoints, Network
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import PositionId
from exchange.protocol import State
from exchange.simulator.paper import Push
from exchange.simulator.running import Simulator
from exchange.topics import INDEX, LAST_PRICE, TICKER
from hubdefisats.embedded import free_port
from tests.automations.test_triggers import trigger
from tests.exchange.places import endpoints_of
from tests.exchange.scripted import Answer, Script, scripted_exchange
from tests.waiting import wait_until

Fired = list[tuple[Trigger, Quote]]
Open = Callable[..., Market]


@pytest.fixture
def fired() -> Fired:
    return []


@pytest.fixture
def market_at(
    settings: Settings,
    fired: Fired,
    redis_url: str,  # noqa: ARG001 - empties the live view
) -> Iterator[Open]:
    """Open markets that are stopped with the test."""
    settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
    with ExitStack() as markets:

        def remember(trigger: Trigger, tick: Quote) -> None:
            fired.append((trigger, tick))

        def open_market(
            endpoints: Endpoints,
            *,
            silence_s: float = 5,
            fire: Callable[[Trigger, Quote], None] = remember,
        ) -> Market:
            settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints}
            market = Market(
                Network.PAPER,
                endpoints,
                rest=rest_client(Network.PAPER),
                live=live_view(),
                server_clock=server_clock(Network.PAPER),
                admission=admission(Network.PAPER),
                fire=fire,
                silence_s=silence_s,
                spike_percent=Decimal(2),
            )
            market.start()
            markets.callback(market.stop)
            return market

        yield open_market


def nowhere(api_url: str) -> Endpoints:
    """Return an exchange whose REST is there and whose stream is not."""
    return Endpoints(api_url=api_url, stream_url=f"ws://127.0.0.1:{free_port()}")


def live(market: Market) -> Market:
    wait_until(lambda: market.state is State.LIVE, what="the session is live")
    return market


def shown() -> Quote | None:
    return live_view().read(Network.PAPER, None).quote


def wait_for_price(price: int) -> Quote:
    def there() -> Quote | None:
        quote = shown()
        return quote if quote and quote.price == price else None

    found = wait_until(there, what=f"the price {price} is shown")
    assert found is not None
    return found


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


def ticker(price: int | None, at_s: float) -> Answer:
    time = datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    document: dict[str, Any] = {
        "time": time,
        "lastPrice": price,
        "index": None,
        "fundingRate": None,
        "fundingTime": None,
        "prices": [],
    }
    return Answer(content=json.dumps(document))


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_exchange() as script:
        yield script


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
