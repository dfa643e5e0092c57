"""Public market data: candles, settlements, the board of winners, and their topics on the stream."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests

from exchange.money import UsdPerBtc
from exchange.simulator.codec import encode, milliseconds
from exchange.simulator.engine.chart import Candle, Chart, Range, begin_of
from exchange.simulator.engine.venue import Venue
from exchange.simulator.options import settings_from
from exchange.simulator.rest.endpoints import Public, PublicCall
from exchange.simulator.rest.params import Params
from exchange.simulator.rest.public import ROUTES
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Settings
from tests.exchange.simulator.calling import Rest, Stream


def at(text: str) -> int:
    return milliseconds(f"{text}Z")


def usd(price: int) -> UsdPerBtc:
    return UsdPerBtc(Decimal(price))


def numbers(candle: Candle) -> tuple[int, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (*map(int, prices), candle.volume)


@pytest.mark.parametrize(
    ("range_", "begin"),
    [
        ("1m", "2026-08-12T13:47"),
        ("10m", "2026-08-12T13:40"),
        ("45m", "2026-08-12T13:30"),
        ("1h", "2026-08-12T13:00"),
        ("4h", "2026-08-12T12:00"),
        ("1d", "2026-08-12T00:00"),
        ("1w", "2026-08-10T00:00"),
        ("1month", "2026-08-01T00:00"),
        ("3months", "2026-07-01T00:00"),
    ],
)
def test_where_a_candle_begins(range_: str, begin: str) -> None:
    assert begin_of(Range(range_), at("2026-08-12T13:47:31")) == at(f"{begin}:00")


def test_still_minutes_are_drawn_flat_and_longer_candles_join_them() -> None:
    chart = Chart(usd(100), at("2026-01-01T00:00:00"), list)
    chart.priced(usd(130), 1, at("2026-01-01T00:00:10"))
    chart.priced(usd(90), 1, at("2026-01-01T00:03:20"))
    now_ms = at("2026-01-01T00:04:00")
    assert [numbers(candle) for candle in chart.candles(Range.M1, now_ms)] == [
        (90, 90, 90, 90, 0),
        (130, 130, 90, 90, 1),
        (130, 130, 130, 130, 0),
        (130, 130, 130, 130, 0),
        (100, 130, 100, 130, 1),
    ]
    (five,) = chart.candles(Range.M5, now_ms)
    assert numbers(five) == (100, 130, 90, 90, 2)


def test_a_chart_without_a_past_does_not_know_yesterdays_price() -> None:
    chart = Chart(usd(100), at("2026-01-02T00:00:00"), list)
    assert chart.price_before(at("2026-01-01T00:00:00")) is None


def test_a_new_market_has_no_change_of_a_day_to_show() -> None:
    venue = Venue(price=usd(100), half_spread=Decimal(0), new_id=str, now_ms=at("2026-01-02T00:00:00"))
    call = PublicCall(venue=venue, params=Params({}), now_ms=at("2026-01-02T00:00:00"))
    ticker = ROUTES["GET", "/v3/futures/ticker"]
    assert isinstance(ticker, Public)
    answer = ticker.run(call)
    assert isinstance(answer, dict)
    assert answer["priceChange24h"] is None


def test_the_time_is_text_with_milliseconds(rest: Rest) -> None:
    text = rest.public("/time").body["time"]
    assert abs(milliseconds(text) - time.time() * 1000) < 5000
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T00:00:00.000Z")


def test_a_time_without_a_zone_is_read_as_utc() -> None:
    assert milliseconds("1970-01-01T00:00:01.5") == 1500


def test_what_is_no_value_of_the_wire_is_never_sent() -> None:
    with pytest.raises(TypeError, match="not part of the wire"):
        encode({"trade": object()})


def test_candles_come_newest_first_aligned_and_in_pages(rest: Rest) -> None:
    first = rest.public("/futures/candles", range="1m").body
    second = rest.public("/futures/candles", range="1m", cursor=first["nextCursor"]).body
    times = [candle["time"] for candle in first["data"] + second["data"]]
    assert len(times) == 2000
    assert times == sorted(set(times), reverse=True)
    assert all(time.endswith(":00.000Z") for time in times)
    assert set(first["data"][0]) == {"time", "open", "high", "low", "close", "volume"}
    assert all(
        candle["low"] <= min(candle["open"], candle["close"])
        and max(candle["open"], candle["close"]) <= candle["high"]
        for candle in first["data"]
    )


@pytest.mark.parametrize("range_", list(Range))
def test_every_range_reaches_back_to_where_the_minutes_begin(rest: Rest, range_: str) -> None:
    candles = rest.public("/futures/candles", range=range_, limit=1000).body["data"]
    assert candles
    begins = [begin_of(Range(range_), milliseconds(candle["time"])) for candle in candles]
    assert begins == [milliseconds(candle["time"]) for candle in candles]


def test_candles_between_two_times_are_inclusive(rest: Rest) -> None:
    newest, older, *_ = rest.public("/futures/candles").body["data"]
    span = {"from": older["time"], "to": newest["time"]}
    found = rest.public("/futures/candles", **span).body
    assert [candle["time"] for candle in found["data"]] == [newest["time"], older["time"]]
    assert found["nextCursor"] is None


@pytest.mark.parametrize("query", [{"range": "2m"}, {"limit": 1001}, {"from": "x"}])
def test_candles_that_cannot_be_get_400(rest: Rest, query: dict[str, Any]) -> None:
    assert rest.public("/futures/candles", **query).status == 400


def test_settlements_lie_on_the_three_hours_of_the_day(venue: Simulator, rest: Rest) -> None:
    past = rest.public("/futures/funding-settlements").body["data"]
    assert len(past) >= 20
    hours = {datetime.fromtimestamp(milliseconds(each["time"]) / 1000, UTC).hour for each in past}
    assert hours == {0, 8, 16}
    settlement = venue.settle_funding("0.0002")
    newest = rest.public("/futures/funding-settlements", limit=1).body["data"][0]
    assert (newest["id"], newest["fundingRate"], newest["fixingPrice"]) == (
        settlement.id,
        0.0002,
        100_000,
    )


def test_settlements_between_equal_times_are_none(rest: Rest) -> None:
    moment = rest.public("/futures/funding-settlements", limit=1).body["data"][0]["time"]
    span = {"from": moment, "to": moment}
    assert rest.public("/futures/funding-settlements", **span).body["data"] == []


def test_the_ticker_knows_the_change_of_a_day(rest: Rest) -> None:
    ticker = rest.public("/futures/ticker").body
    assert isinstance(ticker["priceChange24h"]["ratio"], float)
    assert set(ticker["exchangesWeights"]) == {"bybit", "binance", "okx"}
    assert ticker["fundingTime"] > ticker["time"]


def test_the_board_names_the_winners_first(venue: Simulator, rest: Rest) -> None:
    winner = rest.trade()
    loser_rest = Rest(venue.rest, venue.accounts[1].credentials)
    loser = loser_rest.trade(side="sell")
    venue.set_price(105_000)
    rest.trade()
    rest.post("/futures/isolated/trade/close", id=winner["id"])
    loser_rest.post("/futures/isolated/trade/close", id=loser["id"])
    board = rest.public("/futures/leaderboard").body
    assert set(board) == {"daily", "weekly", "monthly", "all-time"}
    assert [(entry["username"], entry["pl"]) for entry in board["daily"]] == [
        ("paper-1", 47619),
        ("paper-2", -47619),
    ]
    assert [entry["direction"] for entry in board["daily"]] == [1, 0]


def test_who_has_not_closed_a_trade_is_not_on_the_board(rest: Rest) -> None:
    rest.trade()
    assert rest.public("/futures/leaderboard").body["all-time"] == []


def test_the_best_price_is_that_of_the_smallest_orders(rest: Rest) -> None:
    assert rest.public("/synthetic-usd/best-price").body == {"askPrice": 100_000, "bidPrice": 100_000}


@pytest.mark.parametrize("path", ["/oracle/index", "/oracle/last-price"])
def test_the_removed_oracle_is_not_found(rest: Rest, path: str) -> None:
    assert rest.public(path).status == 404


def test_the_slow_topics_come_every_second(stream: Stream) -> None:
    buckets, ohlc = "futures/inverse/btc_usd/buckets", "futures/inverse/btc_usd/ohlc/1h"
    stream.call("subscribe", topics=[buckets, ohlc])
    pushes = {push["topic"]: push["data"] for push in (stream.push(), stream.push())}
    assert pushes[buckets]["buckets"][0]["minSize"] == 1
    assert set(pushes[ohlc]) == {"time", "open", "high", "low", "close", "volume"}
    assert pushes[ohlc]["time"] % 3_600_000 == 0


def test_the_index_moves_with_the_price(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=["futures/inverse/btc_usd/index"])
    venue.set_price(99_000)
    assert stream.push()["data"]["index"] == 99_000


def test_the_index_can_be_moved_apart_and_keeps_its_distance(
    venue: Simulator, stream: Stream, rest: Rest
) -> None:
    stream.call("subscribe", topics=["futures/inverse/btc_usd/index"])

    venue.set_index(99_000)

    assert stream.push()["data"]["index"] == 99_000
    assert shown(rest) == (100_000, 99_000)
    venue.set_price(98_000)
    assert stream.push()["data"]["index"] == 97_000
    assert shown(rest) == (98_000, 97_000)


def shown(rest: Rest) -> tuple[float, float]:
    ticker = rest.public("/futures/ticker").body
    return ticker["lastPrice"], ticker["index"]


def test_unless_asked_for_index_and_last_price_are_never_equal() -> None:
    assert Settings().index_offset == settings_from([]).index_offset != 0
    assert settings_from(["--index-offset", "-3"]).index_offset == -3
    with Simulator(index_offset=Settings().index_offset) as venue:
        assert shown(Rest(venue.rest, venue.accounts[0].credentials)) == (100_000, 100_004.25)


@pytest.mark.parametrize("topic", ["lastPrice", "index", "ticker"])
def test_a_single_wrong_frame_is_pushed_while_the_market_stands_still(
    venue: Simulator, stream: Stream, rest: Rest, topic: str
) -> None:
    stream.call("subscribe", topics=[f"futures/inverse/btc_usd/{topic}"])

    answer = requests.post(f"{venue.control}/push", json={"topic": topic, "value": 70_000}, timeout=5)

    assert answer.json() == {"topic": topic, "value": 70_000}
    data = next(push["data"] for push in iter(stream.push, {}) if 70_000 in push["data"].values())
    assert data["index" if topic == "index" else "lastPrice"] == 70_000
    assert data.get("index") in ({70_000} if topic == "index" else {None, 100_000})
    assert shown(rest) == (100_000, 100_000)
    assert venue.ticks() == []


def test_announcements_reach_every_listener(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=["announcements"])
    announcement = {"id": "a1", "title": "Maintenance", "message": "At noon", "link": None}
    for body in (announcement, {"id": "a1"}):
        requests.post(f"{venue.control}/announcement", json=body, timeout=5)
    assert [stream.push()["data"] for _ in range(2)] == [announcement, {"id": "a1"}]
