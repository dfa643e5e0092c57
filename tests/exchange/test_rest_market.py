import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from exchange.errors import OperatorNeededError
from exchange.market import CandleRange
from exchange.paging import Span
from exchange.rest_market import MarketRest
from tests.exchange import documents
from tests.exchange.scripted import Answer, Script, scripted_exchange
from tests.exchange.test_rest import client_of


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_exchange() as script:
        yield script


@pytest.fixture
def market(script: Script) -> MarketRest:
    return client_of(script.endpoints, None).market


def answer(document: object) -> Answer:
    return Answer(content=json.dumps(document))


def minute(number: int) -> str:
    return f"2026-01-01T00:{number:02d}:00.000Z"


def test_candles_are_read_page_by_page_each_once(script: Script, market: MarketRest) -> None:
    first, second = ([documents.candle(time=minute(n)) for n in each] for each in ([5, 4], [4, 3]))
    script.then(answer(documents.page(*first, cursor=minute(4))), answer(documents.page(*second)))
    candles_read = market.candles(Span(most=10), each=CandleRange.MINUTES_5)
    assert [candle.time.minute for candle in candles_read] == [5, 4, 3]
    assert [request.target for request in script.requests] == [
        "/v3/futures/candles?range=5m&limit=10",
        "/v3/futures/candles?range=5m&limit=8&cursor=2026-01-01T00%3A04%3A00.000Z",
    ]


def test_no_more_candles_are_asked_for_than_wanted(script: Script, market: MarketRest) -> None:
    script.then(
        answer(documents.page(*[documents.candle(time=minute(n)) for n in (9, 8)], cursor="more"))
    )
    assert len(market.candles(Span(most=2))) == 2


def test_a_candle_is_exact(script: Script, market: MarketRest) -> None:
    script.then(answer(documents.page(documents.candle())))
    (candle,) = market.candles(Span(until=datetime(2026, 1, 2, tzinfo=UTC)))
    assert (candle.open, candle.high) == (Decimal(100000), Decimal("100010.5"))
    assert (candle.low, candle.close, candle.volume) == (
        Decimal(99990), Decimal(100005), Decimal("1234.5"),
    )  # fmt: skip


def test_a_fault_on_a_page_names_item_and_field(script: Script, market: MarketRest) -> None:
    script.then(answer(documents.page(documents.candle(), documents.candle(low=0))))
    with pytest.raises(OperatorNeededError, match=r"field data\[1\]\.low is out of range"):
        market.candles(Span())


def test_funding_settlements_are_read(script: Script, market: MarketRest) -> None:
    settlement = {
        "id": "s", "time": minute(0), "fundingRate": -0.00005, "fixingPrice": 64321.5,
    }  # fmt: skip
    script.then(answer(documents.page(settlement)))
    (read,) = market.funding_settlements(Span())
    assert (read.rate, read.fixing_price) == (Decimal("-0.00005"), Decimal("64321.5"))


def test_leaders_and_the_price_of_synthetic_dollars_are_read(
    script: Script, market: MarketRest
) -> None:
    leaders = [{"username": "alice", "pl": -5, "direction": 1}]
    script.then(
        answer({"daily": leaders, "weekly": [], "monthly": [], "all-time": []}),
        answer({"askPrice": 100001, "bidPrice": 100000}),
    )
    board = market.leaderboard()
    assert (board.daily[0].username, board.daily[0].profit, board.all_time) == ("alice", -5, ())
    assert market.best_price().bid == Decimal(100000)
