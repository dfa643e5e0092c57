"""Where the price comes from: files of candles, the made-up market, and the pace of both."""

import asyncio
import time
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import pytest

from exchange.money import UsdPerBtc, is_on_grid
from exchange.simulator.prices import candles, synthetic
from exchange.simulator.prices.candles import BrokenFile
from exchange.simulator.prices.feed import Feed
from exchange.simulator.running import Simulator

HEADER = "open_time,open,high,low,close"
RISING = "2026-01-01T00:00:00Z,100,130,90,120"
FALLING = "2026-01-01T00:01:00Z,120,125,80,85"


def file_with(folder: Path, *lines: str) -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def turning_points(path: list[UsdPerBtc]) -> list[int]:
    """Return the prices where the path turns or stops, the first included."""
    distinct = [price for number, price in enumerate(path) if number == 0 or price != path[number - 1]]
    inner = [
        here
        for before, here, after in zip(distinct, distinct[1:], distinct[2:], strict=False)
        if (here - before) * (after - here) < 0
    ]
    return [int(price) for price in (distinct[0], *inner, distinct[-1])]


@pytest.mark.parametrize("tick_s", [0.1, 6, 60, 6000], ids=lambda tick_s: f"a tick each {tick_s} s")
def test_a_rising_candle_dips_first_and_a_falling_one_peaks_first(
    tmp_path: Path, tick_s: float
) -> None:
    rows = candles.read(file_with(tmp_path, HEADER, RISING, FALLING))
    path = [price for _, price in candles.ticks(rows, tick_s=tick_s)]
    assert turning_points(path) == [100, 90, 130, 120, 125, 80, 85]
    assert all(is_on_grid(price) for price in path)


def test_each_candle_takes_a_minute_of_the_market(tmp_path: Path) -> None:
    rows = candles.read(file_with(tmp_path, HEADER, RISING, FALLING))
    assert sum(after_s for after_s, _ in candles.ticks(rows, tick_s=6)) == pytest.approx(120)


def test_further_columns_and_any_order_of_columns_are_fine(tmp_path: Path) -> None:
    path = file_with(tmp_path, "close,volume,open_time,low,high,open", "120,3,0,90,130,100", "")
    (candle,) = candles.read(path)
    assert [int(corner) for corner in candle.corners] == [100, 90, 130, 120]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        pytest.param([HEADER, RISING, "2026-01-01T00:01:00Z,1,2"], "line 3: 3 values", id="count"),
        pytest.param([HEADER, "0,100,130,90,lots"], "line 2: close 'lots'", id="not a number"),
        pytest.param([HEADER, "0,100,130,90,NaN"], "line 2: close 'NaN'", id="NaN is no price"),
        pytest.param([HEADER, "0,100,90,130,100"], "line 2: high is below low", id="upside down"),
        pytest.param([HEADER, "0,100,130,90,140"], "line 2: open and close", id="close above high"),
        pytest.param([HEADER, "0,100,130,0,100"], "line 2: low 0", id="zero"),
        pytest.param([HEADER, "0,100,130,-9,100"], "line 2: low -9", id="negative"),
        pytest.param([HEADER, "0,100,1e12,90,100"], "line 2: high 1e12", id="beyond all prices"),
        pytest.param([HEADER, RISING, RISING], "line 3: open_time", id="time stands still"),
        pytest.param([HEADER, "noon,100,130,90,120"], "line 2: open_time 'noon'", id="no time"),
        pytest.param(["moment,open,high,low,close", RISING], "line 1: column open_time", id="column"),
        pytest.param([HEADER], "line 2: there is no candle", id="no candle"),
    ],
)
def test_a_broken_file_is_told_in_one_sentence_with_its_line(
    tmp_path: Path, lines: list[str], fault: str
) -> None:
    path = file_with(tmp_path, *lines)
    with pytest.raises(BrokenFile) as broken:
        candles.read(path)
    assert str(broken.value).startswith(f"{path}, {fault}")
    assert "\n" not in str(broken.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param(b"", "line 1", id="empty"),
        pytest.param(b"\xff\xfe\x00", "not a text file", id="binary"),
        pytest.param(b"x" * 200_000, "field larger than field limit", id="one endless line"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_name(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    path = tmp_path / "prices.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenFile, match=fault):
        candles.read(path)


def test_the_recorded_crash_is_readable() -> None:
    path = Path(__file__).parents[4] / "shared/data/btcusd-1m-2023-03-01_10.csv"
    if not path.exists():
        pytest.skip("the recorded candles are not part of the project")
    assert len(candles.read(path)) == 14_400


def test_the_made_up_market_is_calm_then_falls_six_percent_then_recovers() -> None:
    start = UsdPerBtc(Decimal(100_000))
    prices = [price for _, price in islice(synthetic.ticks(7, start), 1800)]
    assert all(is_on_grid(price) for price in prices)
    assert all(99_500 < price < 100_500 for price in prices[:195])
    assert 93_500 < prices[400] < 94_700
    assert all(99_400 < price < 100_600 for price in prices[1000:])
    falling = prices[200:400]
    assert max(a - b for a, b in pairwise(falling)) < 100, "in small ticks"


def test_the_same_seed_makes_the_same_market() -> None:
    start = UsdPerBtc(Decimal(100_000))
    first, again, other = (list(islice(synthetic.ticks(seed, start), 300)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_market_of_recorded_prices_opens_at_the_first_of_them(tmp_path: Path) -> None:
    path = file_with(tmp_path, HEADER, RISING)
    with Simulator(prices=str(path), speed=1) as venue:
        assert 99 <= venue.price() <= 100


def test_the_feed_keeps_the_pace_and_ends_with_its_path() -> None:
    path = [(0.5, UsdPerBtc(Decimal(price))) for price in (1, 2, 3, 4)]
    seen: list[UsdPerBtc] = []
    began_s = time.monotonic()
    asyncio.run(Feed(iter(path), first=None, speed=20).run(seen.append))
    assert 0.1 <= time.monotonic() - began_s < 2
    assert seen == [1, 2, 3, 4]


def test_the_deepest_fall_of_a_file_is_over_with_its_lowest_candle(tmp_path: Path) -> None:
    minutes = ("100,100,100,100", "100,120,100,120", "120,120,90,95", "95,110,95,110", "110,110,85,99")
    rows = candles.read(
        file_with(tmp_path, HEADER, *(f"{at * 60_000},{row}" for at, row in enumerate(minutes)))
    )

    assert candles.fall_over_s(rows[:4]) == 180
    assert candles.fall_over_s(rows) == 300
    assert candles.fall_over_s(rows[:2]) == 0, "it only rises"


def test_the_made_up_fall_is_over_at_its_lowest_price() -> None:
    ticks = list(islice(synthetic.ticks(1, UsdPerBtc(Decimal(100_000))), 1000))
    lowest = min(range(1000), key=lambda number: ticks[number][1])

    assert (lowest + 1) * synthetic.TICK_S == pytest.approx(synthetic.FALL_OVER_S, abs=1)
    assert ticks[lowest][1] < 94_500, "longs at 25x and 50x are liquidated"
