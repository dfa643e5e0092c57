"""CSV files of candles as exchanges and charts export them: where each column is, what a cell says."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, product
from pathlib import Path
from typing import Final, TextIO

from exchange.simulator import codec

TIME: Final = "open_time"
COLUMNS: Final = (TIME, "open", "high", "low", "close")
"""What is read. A file without a header has these first, in this order."""
_SPELLINGS: Final[Mapping[str, Sequence[str]]] = {
    TIME: (
        *("opentime", "unix", "unixtimestamp", "unixtime", "timestamp", "timestampms", "opentimestamp"),
        *("opendatetime", "opendate", "datetime", "dateutc", "timeutc", "gmttime", "starttime"),
        *("timeperiodstart", "time", "date", "ts", "t"),
    ),
    "open": ("open", "openprice", "priceopen", "o"),
    "high": ("high", "highprice", "pricehigh", "h"),
    "low": ("low", "lowprice", "pricelow", "l"),
    "close": ("close", "closeprice", "priceclose", "last", "c"),
}
"""How headers name the columns, in small letters and digits alone; of several the first counts."""

_DELIMITERS: Final = ";\t|,"
"""A semicolon before a comma, which may be in its numbers. `csv.Sniffer` has it the other way round."""
_SAMPLE: Final = 100
"""So many lines tell which of them it is."""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_CLOCK: Final = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?", re.ASCII)
_FORMATS: Final = tuple(
    f"{date} {clock}"
    for date, clock in product(
        ("%d.%m.%Y", "%Y.%m.%d", "%Y/%m/%d"), ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")
    )
)
"""Times beside those of ISO 8601. 01/02/2026 is not among them: it may be either of two days."""
_END_MS: Final = 253_402_300_800_000
"""The year 10000."""


class BrokenFile(Exception):  # noqa: N818 - the file is at fault, and the message says where
    """One sentence naming the file, the line and the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    text: str
    name: str
    """How a sentence names it."""
    comma_divides: bool
    """Whether commas divide columns in this file: one inside of a number is rare then."""

    def fault(self, what: str) -> ValueError:
        return ValueError(f"{self.name} {self.text[:60]!r} {what}")

    def number(self) -> Decimal:
        """Return its number, in whatever way decimals and thousands are marked; else ValueError."""
        if _NUMBER.fullmatch(self.text):
            return Decimal(self.text)
        text = re.sub(r"(?<=\d)[\s'](?=\d{3})", "", self.text)
        marks = re.findall("[.,]", text)
        if len(set(marks)) == 2 or len(marks) > 1:
            text = self._without_thousands(text, marks)
        elif marks == [","]:
            if self.comma_divides and re.fullmatch(r"[+-]?\d{1,3},\d{3}", text):
                raise self.fault(f"may be {text.replace(',', '')} or {text.replace(',', '.')}")
            text = text.replace(",", ".")
        if not _NUMBER.fullmatch(text):
            raise self.fault("is not a number")
        return Decimal(text)

    def _without_thousands(self, text: str, marks: Sequence[str]) -> str:
        thousands = re.escape(marks[0])
        if not re.fullmatch(rf"[+-]?\d{{1,3}}({thousands}\d{{3}})+([.,]\d+)?", text, re.ASCII):
            raise self.fault("is not a number")
        return text.replace(marks[0], "").replace(",", ".")

    def time_ms(self) -> int:
        """Return its time as milliseconds since the epoch, UTC where it names no zone."""
        if re.fullmatch(r"[\d.,]+([eE]\+?\d+)?", self.text, re.ASCII) and self.text.count(".") < 2:
            return self._counted_ms()
        text = re.sub(r"\s*(UTC|GMT)$", "", self.text)
        try:
            return codec.milliseconds(text)
        except ValueError:
            pass
        for form in _FORMATS:
            try:
                return codec.milliseconds(datetime.strptime(text, form).replace(tzinfo=UTC).isoformat())
            except ValueError:
                continue
        raise self.fault("is neither an ISO 8601 time nor a number of s, ms or µs since 1970")

    def _counted_ms(self) -> int:
        """Tell the unit by the size: since 2001 seconds have 10 digits, the others 3, 6 or 9 more."""
        number = self.number()
        if number < 10**9:
            ms = number  # no date of bitcoin: milliseconds from some beginning
        elif number < 10**11:
            ms = number * 1000
        elif number < 10**14:
            ms = number
        elif number < 10**17:
            ms = number / 1000
        else:
            ms = number / 1_000_000
        if ms >= _END_MS:
            raise self.fault("is beyond all dates")
        if ms != int(ms):
            raise self.fault("is not a whole number of milliseconds")
        return int(ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candle as text."""

    line: int
    cells: Mapping[str, Cell]
    """By the names of `COLUMNS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where what is."""

    delimiter: str
    width: int
    places: Mapping[str, int]
    names: Mapping[str, str]
    clock: int | None
    """Where the time of the day is, if not in one column with the date."""

    def row(self, line: int, texts: list[str]) -> Row:
        while len(texts) > self.width and not texts[-1]:
            texts.pop()
        if len(texts) != self.width:
            raise ValueError(f"{len(texts)} values where the first line of the table has {self.width}")
        found = {column: texts[place] for column, place in self.places.items()}
        if self.clock is not None and _CLOCK.fullmatch(texts[self.clock]):
            found[TIME] = f"{found[TIME]} {texts[self.clock]}"
        comma = self.delimiter == ","
        cells = {
            column: Cell(text=text, name=self.names[column], comma_divides=comma)
            for column, text in found.items()
        }
        return Row(line=line, cells=cells)


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in its own order.

    Columns may be divided by comma, semicolon, tab or bar and be named in many ways, or not at all.
    Lines of words before them and empty lines anywhere are passed over.

    Raises:
        BrokenFile: it cannot be read, has not all columns, or a row has too many or too few values.
    """
    if path.exists() and not path.is_file():
        raise BrokenFile(f"{path}: not a file")
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            delimiter = _delimiter(islice(file, _SAMPLE))
            file.seek(0)
            yield from _rows(path, file, delimiter)
    except OSError as error:
        raise BrokenFile(f"{path}: {error.strerror or error}") from None
    except UnicodeError:
        raise BrokenFile(f"{path}: not a text file, in UTF-8") from None


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"


def _delimiter(lines: Iterable[str]) -> str:
    """Return what divides at least five columns in most lines, else what is there most often."""
    counts = [[line.count(each) for each in _DELIMITERS] for line in lines]

    def often(delimiter: str) -> tuple[int, int]:
        of = [count[_DELIMITERS.index(delimiter)] for count in counts]
        return sum(each >= len(COLUMNS) - 1 for each in of), sum(of)

    return max(_DELIMITERS, key=often) if counts else ","


def _rows(path: Path, file: TextIO, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    layout, line = None, 1
    try:
        for texts in reader:
            cells = [text.strip() for text in texts]
            if any(cells):
                if layout:
                    yield layout.row(line, cells)
                elif layout := _headed(cells, delimiter):
                    pass
                elif layout := _headless(cells, delimiter):
                    yield layout.row(line, cells)
            line = reader.line_num + 1
    except (csv.Error, ValueError) as error:
        raise BrokenFile(f"{path}, line {line}: {error}") from None
    if layout is None:
        raise BrokenFile(f"{path}, line 1: column {TIME} is missing")


def _headed(cells: Sequence[str], delimiter: str) -> _Layout | None:
    """Return what a header says; None where it is none, which two known names would make it."""
    names = [re.sub(r"\(.*\)|[\W_]", "", cell.lower()) for cell in cells]
    places = {
        column: names.index(spelled[0])
        for column, spellings in _SPELLINGS.items()
        if (spelled := [each for each in spellings if each in names])
    }
    if len(places) < 2:
        return None
    missing = [column for column in COLUMNS if column not in places]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    clock = None
    if names[places[TIME]] == "time" and "date" in names:
        places[TIME], clock = names.index("date"), places[TIME]
    return _Layout(
        delimiter=delimiter,
        width=len(cells),
        places=places,
        names={
            column: column if cells[place] == column else f"{column} (column {cells[place][:60]!r})"
            for column, place in places.items()
        },
        clock=clock,
    )


def _headless(cells: Sequence[str], delimiter: str) -> _Layout | None:
    """Return the usual order where the first row is a candle; None where it may be a line of words."""
    if len(cells) < len(COLUMNS):
        return None
    if not cells[0][:1].isdigit():
        raise ValueError(f"{cells[0][:60]!r} begins neither a header nor a candle")
    clock = 1 if _CLOCK.fullmatch(cells[1]) else None
    first = 1 if clock is None else 2
    places = {TIME: 0} | {column: at for at, column in enumerate(COLUMNS[1:], start=first)}
    return _Layout(
        delimiter=delimiter,
        width=len(cells),
        places=places,
        names={column: f"{column} (column {place + 1})" for column, place in places.items()},
        clock=clock,
    )
