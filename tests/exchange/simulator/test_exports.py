"""Files of candles as exchanges and charts export them: the same candles, however they are written."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.simulator.prices import candles
from exchange.simulator.prices.candles import BrokenFile, Candle

START_MS = 1_735_689_540_000
"""The last minute of 2024."""


def iso(candle: Candle) -> str:
    return f"{time_of(candle):%Y-%m-%dT%H:%M:%SZ}"


def time_of(candle: Candle) -> datetime:
    return datetime.fromtimestamp(candle.open_ms / 1000, tz=UTC)


def prices(candle: Candle) -> list[str]:
    return [str(price) for price in (candle.open, candle.high, candle.low, candle.close)]


@dataclass(frozen=True, kw_only=True)
class Export:
    """One way to write candles."""

    time: Callable[[Candle], str] = iso
    header: str | None = "open_time,open,high,low,close,volume"
    row: Callable[[str, Sequence[str]], list[str]] = lambda time, values: [time, *values, "1.5"]
    number: Callable[[str], str] = str
    banner: str = ""
    delimiter: str = ","
    quoting: Any = csv.QUOTE_MINIMAL
    newline: str = "\n"
    newest_first: bool = False
    encoding: str = "utf-8"
    end: str = ""

    def write(self, path: Path, rows: Iterable[Candle]) -> Path:
        text = StringIO()
        writer = csv.writer(
            text, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.newline
        )
        if self.header:
            writer.writerow(self.header.split(","))
        ordered = sorted(rows, key=lambda row: row.open_ms, reverse=self.newest_first)
        for row in ordered:
            values = [self.number(price) for price in prices(row)]
            writer.writerow(self.row(self.time(row), values))
        path.write_bytes((self.banner + text.getvalue() + self.end).encode(self.encoding))
        return path


def seconds(candle: Candle) -> str:
    return str(candle.open_ms // 1000)


def milliseconds(candle: Candle) -> str:
    return str(candle.open_ms)


def microseconds(candle: Candle) -> str:
    return str(candle.open_ms * 1000)


def with_comma(price: str) -> str:
    return price.replace(".", ",")


def with_thousands(marks: str) -> Callable[[str], str]:
    """Return how prices are written with these marks of thousands and of decimals."""

    def written(price: str) -> str:
        exact = f"{Decimal(price):,.4f}"
        return exact.translate(str.maketrans(",.", marks))

    return written


def binance(time: str, values: Sequence[str]) -> list[str]:
    return [time, *values, "12.5", "1735689599999", "1189432.41", "1000", "6.1", "580000.7", "0"]


def downloaded(time: str, values: Sequence[str]) -> list[str]:
    day = datetime.fromtimestamp(int(time[:10]), tz=UTC)
    return [time, f"{day:%Y-%m-%d %H:%M:%S}", "BTC/USD", *values, "12.5", "1189432.41"]


EXPORTS = {
    "as documented": Export(),
    "binance, ms": Export(header=None, time=milliseconds, row=binance),
    "binance, µs": Export(header=None, time=microseconds, row=binance),
    "binance with semicolons and decimal commas": Export(
        header=None,
        time=milliseconds,
        delimiter=";",
        number=with_comma,
        row=lambda time, values: [time, *values, "12,5"],
    ),
    "binance futures": Export(
        header="open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
        "taker_buy_quote_volume,ignore",
        time=milliseconds,
        row=binance,
    ),
    "cryptodatadownload": Export(
        banner="https://www.CryptoDataDownload.com\n",
        header="unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
        time=seconds,
        row=downloaded,
        newest_first=True,
    ),
    "cryptodatadownload, ms": Export(
        banner="Timestamps are UTC timezone,https://www.CryptoDataDownload.com\r\n",
        header="Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USD",
        time=milliseconds,
        row=downloaded,
        newest_first=True,
        newline="\r\n",
    ),
    "tradingview": Export(header="time,open,high,low,close,Volume", time=seconds),
    "tradingview, another zone": Export(
        header="time,open,high,low,close,Volume",
        time=lambda row: time_of(row).astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
    ),
    "kraken": Export(header=None, time=seconds, row=lambda time, values: [time, *values, "1.5", "12"]),
    "coinbase": Export(
        header="time,low,high,open,close,volume",
        time=seconds,
        row=lambda time, values: [time, values[2], values[1], values[0], values[3], "1.5"],
    ),
    "bitstamp, seconds with a fraction": Export(
        header="Timestamp,Open,High,Low,Close,Volume", time=lambda row: f"{seconds(row)}.0"
    ),
    "pandas": Export(
        header=",Date,Open,High,Low,Close,Volume",
        time=lambda row: f"{time_of(row):%Y-%m-%d %H:%M:%S+00:00}",
        row=lambda time, values: ["0", time, *values, "1.5"],
    ),
    "dukascopy": Export(
        header="Gmt time,Open,High,Low,Close,Volume",
        time=lambda row: f"{time_of(row):%d.%m.%Y %H:%M:%S}.000",
    ),
    "metatrader 5": Export(
        header="<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>,<SPREAD>",
        delimiter="\t",
        time=lambda row: f"{time_of(row):%Y.%m.%d\t%H:%M:%S}",
        row=lambda time, values: [*time.split("\t"), *values, "10", "0", "50"],
    ),
    "metatrader 4": Export(
        header=None,
        time=lambda row: f"{time_of(row):%Y.%m.%d,%H:%M}",
        row=lambda time, values: [*time.split(","), *values, "10"],
        newline="\r\n",
    ),
    "spreadsheet with decimal commas": Export(
        delimiter=";", number=with_comma, encoding="utf-8-sig", newline="\r\n"
    ),
    "spreadsheet with thousands": Export(
        delimiter=";", number=with_thousands(".,"), time=lambda row: f"{time_of(row):%d.%m.%Y %H:%M}"
    ),
    "spreadsheet with thin thousands": Export(delimiter=";", number=with_thousands("\u202f,")),
    "spreadsheet, thousands in quotes": Export(number=with_thousands(",.")),
    "spreadsheet, unicode text": Export(delimiter="\t", number=with_comma, encoding="utf-16"),
    "scientific": Export(
        time=lambda row: f"{Decimal(row.open_ms):.12E}", number=lambda price: f"{Decimal(price):.12e}"
    ),
    "scientific, decimal commas": Export(
        delimiter=";",
        time=lambda row: f"{Decimal(row.open_ms):.12E}".replace(".", ","),
        number=lambda price: f"{Decimal(price):.12E}".replace(".", ","),
    ),
    "all in quotes": Export(quoting=csv.QUOTE_ALL, newest_first=True),
    "bars": Export(header="Open Time,Open Price,High Price,Low Price,Close Price,V", delimiter="|"),
    "old line ends": Export(newline="\r"),
    "nanoseconds": Export(time=lambda row: f"{row.open_ms}000000"),
    "times that say UTC": Export(time=lambda row: f"{time_of(row):%Y-%m-%d %H:%M} UTC"),
    "empty lines at the end": Export(end="\r\n\n;;;\n \n,,,,,\n".replace(";", ",")),
    "a comma after each row": Export(row=lambda time, values: [time, *values, "1.5", ""]),
}


@st.composite
def minutes(draw: st.DrawFn) -> list[Candle]:
    """Return some candles in order, at any exact prices with up to four decimals."""
    cents = st.integers(min_value=10_000, max_value=10**10)
    rows = []
    for number in range(draw(st.integers(min_value=2, max_value=4))):
        low, opened, closed, high = sorted(Decimal(draw(cents)) / 10_000 for _ in range(4))
        if draw(st.booleans()):
            opened, closed = closed, opened
        at = START_MS + number * 60_000
        rows.append(Candle(open_ms=at, open=opened, high=high, low=low, close=closed))
    return rows


@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS.keys())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=minutes())
def test_the_same_candles_are_read_however_they_are_written(
    tmp_path: Path, export: Export, rows: list[Candle]
) -> None:
    assert candles.read(export.write(tmp_path / "prices.csv", rows)) == rows


def flat(*offsets_ms: int) -> str:
    lines = [f"{START_MS + offset_ms},1,1,1,1" for offset_ms in offsets_ms]
    return "\n".join(["open_time,open,high,low,close", *lines])


@pytest.mark.parametrize(
    ("offsets_ms", "fault"),
    [
        pytest.param(
            (0, 60_000, 28_860_000),
            "line 4: open_time 2025-01-01T08:00:00.000Z is 8:00:00 after line 3",
            id="a gap",
        ),
        pytest.param((0, 60_000, 180_000), "line 4: .* is 0:02:00 after line 3", id="one is missing"),
        pytest.param((0, 3_600_000), "line 3: .* is 1:00:00 after line 2", id="hours"),
        pytest.param((0, 1_000), "line 3: .* is 0:00:01 after line 2", id="seconds"),
        pytest.param((0, 60_000, 60_000), "line 4: .* is 0:00:00 after line 3", id="twice"),
        pytest.param((0, 60_000, 0), "line 4: .* is 0:01:00 before line 3", id="back"),
        pytest.param((120_000, 60_000, 120_000), "line 4: .* after line 3", id="newest first, then on"),
        pytest.param(
            (180_000, 120_000, 0), "line 4: .* is 0:02:00 before line 3", id="a gap, newest first"
        ),
        pytest.param((0, 60_500), "line 3: .* is 0:01:00.500000 after line 2", id="half a second more"),
    ],
)
def test_candles_that_are_not_one_minute_apart_are_told_with_their_line(
    tmp_path: Path, offsets_ms: Sequence[int], fault: str
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(flat(*offsets_ms))
    with pytest.raises(BrokenFile, match=fault) as broken:
        candles.read(path)
    assert "candles of one minute are needed, in order and without a gap" in str(broken.value)


HEADER = "open_time,open,high,low,close"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            f"{HEADER}\n01/02/2026 00:00,1,1,1,1", "line 2: open_time '01/02/2026 ", id="two days"
        ),
        pytest.param(f"{HEADER}\n1e30,1,1,1,1", "line 2: open_time '1e30' is beyond", id="far ahead"),
        pytest.param(f"{HEADER}\n1e999,1,1,1,1", "line 2: open_time '1e999' is beyond", id="beyond"),
        pytest.param(f"{HEADER}\n1735689540.0001,1,1,1,1", "line 2: .* not a whole", id="between"),
        pytest.param(f'{HEADER}\n0,"42,283",1,1,1', "line 2: open '42,283' may be 42283 or", id="mark"),
        pytest.param(
            f"{HEADER}\n0,1_000,1,1,1", "line 2: open '1_000' is not a number", id="underscore"
        ),
        pytest.param(
            f"{HEADER}\n0,0x10,1,1,1", "line 2: open '0x10' is not a number", id="hexadecimal"
        ),
        pytest.param(f"{HEADER}\n0,1.2.3,1,1,1", "line 2: open '1.2.3' is not a number", id="points"),
        pytest.param(f"{HEADER}\n0,١٢,1,1,1", "line 2: open '١٢' is not a number", id="other digits"),
        pytest.param(f"{HEADER}\n0,,1,1,1", "line 2: open '' is not a number", id="empty cell"),
        pytest.param(f"{HEADER}\n0,1,1,1,1,5", "line 2: 6 values", id="more than columns"),
        pytest.param(f"{HEADER}\n0,1,1,1", "line 2: 4 values", id="cut off"),
        pytest.param(f'{HEADER}\n"0,1,1,1,1\n60000,1,1,1,1', "line 2: ", id="a quote that never ends"),
        pytest.param("a,b,c,d,e\n0,1,1,1,1", "line 1: 'a' begins neither", id="unknown header"),
        pytest.param("Time;Open;High;Low\n", "line 1: column close is missing", id="no close"),
        pytest.param(
            "Unix,Open,High,Low,Last\n0,1,1,1,x", "line 2: close (column 'Last') 'x'", id="named"
        ),
        pytest.param(
            "0,1,1,1,x", "line 1: close (column 5) 'x' is not a number", id="without a header"
        ),
        pytest.param(f"{HEADER}\n0,{'x' * 9000},1,1,1", "line 2: open 'xxx", id="a long cell"),
        pytest.param("words\nand words", "line 1: column open_time is missing", id="prose"),
        pytest.param("{}", "line 1: column open_time is missing", id="JSON"),
        pytest.param(
            "\n\nopen_time,open,high,low,close\n\n0,1,1,1,x", "line 5: close 'x'", id="empty lines"
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence_with_line_and_column(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BrokenFile) as broken:
        candles.read(path)
    said = str(broken.value)
    assert said.startswith(f"{path}, ")
    assert len(said) < len(str(path)) + 200
    assert fault.replace(".* ", "") in said or all(part in said for part in fault.split(".* "))
    assert "\n" not in said


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match="not a file"):
        candles.read(tmp_path)
    with pytest.raises(BrokenFile, match="not a file"):
        candles.read(Path("/dev/zero"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.text("0123456789.,;:-+eE\t|\"' \r\nTZopenhighlwcst\ufeff", max_size=200).map(str.encode)
)
def test_any_bytes_are_candles_or_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    said = ""
    try:
        assert candles.read(path)
    except BrokenFile as broken:
        said = str(broken)
    assert not said or said.startswith(str(path))
    assert "\n" not in said
