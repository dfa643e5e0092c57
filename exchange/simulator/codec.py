"""JSON and times as they cross the wire: exact numbers in, JavaScript's way of writing them out."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction


def decode(text: str | bytes) -> object:
    """Return the value of a JSON text, numbers as int or Decimal; ValueError where it is none."""
    try:
        value: object = json.loads(text, parse_float=_decimal, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def encode(value: object) -> str:
    """Return compact ASCII JSON; a whole number never has a trailing `.0`."""
    return json.dumps(value, separators=(",", ":"), default=_number)


def iso(at_ms: int) -> str:
    """Return `2026-01-01T00:00:00.000Z` for milliseconds since the epoch."""
    moment = datetime.fromtimestamp(at_ms // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def iso_or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)


def milliseconds(text: str) -> int:
    """Return an ISO 8601 time, UTC where it names no zone, as milliseconds; ValueError for others."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime.fromtimestamp(0, tz=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    # An exponent of a million would cost a megabyte of digits where the number is first used.
    if abs(number.adjusted()) > 40:
        raise ValueError("number out of range")
    return number


def _number(value: object) -> int | float:
    # Prices lie on a grid of halves and are exact as floats; a leverage is shown as the nearest double.
    if isinstance(value, Decimal | Fraction):
        return int(value) if value == int(value) else float(value)
    raise TypeError(f"not part of the wire: {type(value).__name__}")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
