"""Checked reading of JSON from outside, and exact writing of our own: each fault names its field."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, Self, TypeVar

from exchange.errors import OperatorNeededError, UnreadableFieldError, storable
from exchange.money import MAX_PRICE, MIN_PRICE, Sats, Usd, UsdPerBtc

Scalar = str | int | Decimal | bool | None
Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")

_MOST_SATS: Final = 21_000_000 * 100_000_000
_MOST_USD: Final = 2**31 - 1
"""A hundred times the largest position (3.7), and what the database holds."""
_FINEST_EXPONENT: Final = -40
"""Finer numbers are no amounts; a Fraction of 1e-999999 would eat the machine."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_999


def unreadable(where: str, fault: str) -> OperatorNeededError:
    return OperatorNeededError(_sentence(where, fault))


def _sentence(where: str, fault: str) -> str:
    return f"LN Markets sent what we cannot read ({where}): {fault}"


def parse(text: str | bytes, where: str) -> object:
    """Return the JSON document, its fractions as Decimal.

    NaN, Infinity and numbers beyond all sense stand as texts: they spoil their own field alone.

    Raises:
        OperatorNeededError: it is not JSON.
    """
    try:
        document: object = json.loads(text, parse_float=_fraction, parse_int=_whole, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise unreadable(where, f"not JSON ({type(error).__name__})") from None
    return document


def _fraction(text: str) -> object:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _whole(text: str) -> object:
    try:
        return int(text)
    except ValueError:  # Python reads no more than some thousand digits
        return text


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, read field by field; what is not asked for is ignored.

    Every method raises UnreadableFieldError naming the field, its value, and `where` it came from.
    """

    values: Mapping[str, object]
    where: str
    path: str = ""

    @classmethod
    def of(cls, document: object, where: str, path: str = "") -> Self:
        """Return the fields of an object.

        Raises:
            OperatorNeededError: it is none.
        """
        if not isinstance(document, dict):
            raise unreadable(where, f"{path or 'the answer'} is not an object but {kind_of(document)}")
        return cls(document, where, path)

    def fault(self, name: str, problem: str) -> UnreadableFieldError:
        return UnreadableFieldError(_sentence(self.where, f"field {self.named(name)} {problem}"))

    def text(self, name: str, *, most: int = 200) -> str:
        value = self._present(name)
        if not isinstance(value, str):
            raise self.fault(name, f"is not text but {_said(value)}")
        if not 0 < len(value) <= most:
            raise self.fault(name, f"is not 1 to {most} characters long: {value[:40]!r}")
        return storable(value)

    def text_or_none(self, name: str, *, most: int = 200) -> str | None:
        """Return None for null, an absent field and an empty text (3.6.2)."""
        return self.text(name, most=most) if self.values.get(name) not in (None, "") else None

    def flag(self, name: str) -> bool:
        value = self._present(name)
        if not isinstance(value, bool):
            raise self.fault(name, f"is not true or false but {_said(value)}")
        return value

    def flag_or_false(self, name: str) -> bool:
        """Return false for null and an absent field."""
        return self.values.get(name) is not None and self.flag(name)

    def choice(self, name: str, kinds: type[Choice]) -> Choice:
        value = self.text(name)
        try:
            return kinds(value)
        except ValueError:
            raise self.fault(name, f"is none of {', '.join(kinds)} but {value[:40]!r}") from None

    def known_choice(self, name: str, kinds: type[Choice]) -> Choice | None:
        """Return None for a member that is new to us."""
        value = self.values.get(name)
        return kinds(value) if isinstance(value, str) and value in set(kinds) else None

    def number(self, name: str, *, least: int | Decimal, most: int | Decimal) -> Decimal:
        value = self._present(name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.fault(name, f"is not a number but {_said(value)}")
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if not least <= number <= most or not isinstance(exponent, int) or exponent < _FINEST_EXPONENT:
            raise self.fault(name, f"is out of range: {str(value)[:40]}")
        return number

    def number_or_none(self, name: str, *, least: int | Decimal, most: int | Decimal) -> Decimal | None:
        return None if self.values.get(name) is None else self.number(name, least=least, most=most)

    def integer(self, name: str, *, least: int, most: int) -> int:
        """Return a whole number; JSON does not tell 5 from 5.0, so both will do."""
        number = self.number(name, least=least, most=most)
        if number != int(number):
            raise self.fault(name, f"is not a whole number: {str(number)[:40]}")
        return int(number)

    def sats(self, name: str, *, least: int = 0) -> Sats:
        return Sats(self.integer(name, least=least, most=_MOST_SATS))

    def sats_or_none(self, name: str) -> Sats | None:
        """Return None for null, an absent field and 0: there is no such amount."""
        value = self.values.get(name)
        return None if value is None or _is_zero(value) else self.sats(name)

    def signed_sats(self, name: str) -> Sats:
        return Sats(self.integer(name, least=-_MOST_SATS, most=_MOST_SATS))

    def usd(self, name: str, *, least: int = 1) -> Usd:
        return Usd(self.integer(name, least=least, most=_MOST_USD))

    def price(self, name: str) -> UsdPerBtc:
        return UsdPerBtc(self.number(name, least=MIN_PRICE, most=MAX_PRICE))

    def price_or_none(self, name: str) -> UsdPerBtc | None:
        """Return None for null, an absent field and 0, the exchange's word for unset (3.6.2)."""
        value = self.values.get(name)
        return None if value is None or _is_zero(value) else self.price(name)

    def rate(self, name: str) -> Decimal:
        """Return a share of at most the whole, either way."""
        return self.number(name, least=-1, most=1)

    def time(self, name: str) -> datetime:
        """Return an ISO 8601 time as an aware one in UTC."""
        text = self.text(name, most=40)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self.fault(name, f"is not an ISO 8601 time: {text!r}") from None
        if moment.tzinfo is None:
            raise self.fault(name, f"is a time without its zone: {text!r}")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise self.fault(name, f"is out of range: {text!r}") from None

    def time_or_none(self, name: str) -> datetime | None:
        return None if self.values.get(name) is None else self.time(name)

    def time_ms(self, name: str) -> int:
        """Return milliseconds since the epoch, as the stream sends them."""
        return self.integer(name, least=1, most=_LATEST_MS)

    def inner(self, name: str) -> "Fields":
        value = self._present(name)
        if not isinstance(value, dict):
            raise self.fault(name, f"is not an object but {_said(value)}")
        return Fields(value, self.where, self.named(name))

    def items(self, name: str) -> list[object]:
        value = self._present(name)
        if not isinstance(value, list):
            raise self.fault(name, f"is not an array but {_said(value)}")
        return value

    def named(self, name: str) -> str:
        """Return a field's name with those of the objects around it."""
        return f"{self.path}.{name}" if self.path else name

    def _present(self, name: str) -> object:
        value = self.values.get(name)
        if value is None:
            raise self.fault(name, "is null" if name in self.values else "is missing")
        return value


def readable(read: Callable[[str], Value], name: str) -> Value | None:
    """Return what `read` makes of the field, None where it cannot: for what decides nothing."""
    try:
        return read(name)
    except UnreadableFieldError:
        return None


def from_ms(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def iso_text(moment: datetime) -> str:
    """Return an aware time as the exchange wants it: UTC, milliseconds, `Z` (2.1)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number_text(number: int | Decimal) -> str:
    """Return the plain text of a number: no exponent, no trailing zeros (2.3)."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_text(fields: Mapping[str, Scalar]) -> str:
    """Return a flat JSON object, compact and in ASCII; what is None stands as null."""
    return "{" + ",".join(f'"{name}":{_scalar_text(value)}' for name, value in fields.items()) + "}"


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, Decimal):
        return number_text(value)
    return json.dumps(value)


def _is_zero(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value == 0


def _said(value: object) -> str:
    """Return what a value is, and the value itself where it is not an object or an array."""
    if value is None or isinstance(value, dict | list):
        return kind_of(value)
    shown = repr(value[:40]) if isinstance(value, str) else str(value)[:40]
    return f"{kind_of(value)}: {shown}"


def kind_of(value: object) -> str:
    """Return what a JSON value is, in words."""
    names = {
        dict: "an object",
        list: "an array",
        str: "text",
        bool: "a truth value",
        type(None): "null",
    }
    return names.get(type(value), "a number")
