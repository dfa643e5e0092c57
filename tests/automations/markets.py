"""Markets of a test: on the paper exchange, or on a script of REST."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from accounts.gateway import admission, live_view, rest_client, server_clock
from automations.market import Market
from automations.triggers import Trigger
from exchange.config import Endpoints, Network
from exchange.market import Quote
from exchange.protocol import State
from hubdefisats.embedded import free_port
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
