"""The parameters of one request, typed and bounded, or a 400 that names the field."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from exchange.simulator import codec
from exchange.simulator.rest.answers import bad_request

MOST_SATS: Final = 2_100_000_000_000_000
"""All there will ever be."""

Choice = TypeVar("Choice", bound=StrEnum)


class Params:
    """Named values from a query or a JSON body. A null counts as absent; unknown names are ignored."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    @classmethod
    def from_query(cls, query: str) -> "Params":
        return cls(dict(parse_qsl(query, keep_blank_values=True)))

    @classmethod
    def from_body(cls, body: bytes, content_type: str) -> "Params":
        """Read a JSON object; no body at all is an empty one."""
        if not body:
            return cls({})
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise bad_request("Content-Type must be application/json")
        try:
            values = codec.decode(body)
        except ValueError as error:
            raise bad_request(f"Body is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise bad_request("Body must be a JSON object")
        return cls(values)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, *, least: int = 1, most: int = 200) -> str:
        value = self._needed(name)
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise bad_request(f"{name} must be a text of {least} to {most} characters")
        return value

    def integer(self, name: str, *, least: int, most: int) -> int:
        number = self._number(name)
        if number % 1 != 0 or not least <= number <= most:
            raise bad_request(f"{name} must be an integer between {least} and {most}")
        return int(number)

    def number(self, name: str, *, least: int = 0) -> Decimal:
        number = self._number(name)
        if number < least:
            raise bad_request(f"{name} must be at least {least}")
        return number

    def choice(self, name: str, options: type[Choice]) -> Choice:
        value = self._needed(name)
        for option in options:
            if option == value:
                return option
        raise bad_request(f"{name} must be one of {', '.join(options)}")

    def flag(self, name: str) -> bool:
        """Return a truth value of a query."""
        value = self._needed(name)
        if value not in {"true", "false"}:
            raise bad_request(f"{name} must be true or false")
        return value == "true"

    def time_ms(self, name: str) -> int | None:
        """Return an ISO time as milliseconds; None where it is absent."""
        if not self.has(name):
            return None
        try:
            return codec.milliseconds(self.text(name))
        except ValueError:
            raise bad_request(f"{name} must be an ISO 8601 time") from None

    def _needed(self, name: str) -> object:
        value = self.values.get(name)
        if value is None:
            raise bad_request(f"{name} is required")
        return value

    def _number(self, name: str) -> Decimal:
        value = self._needed(name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise bad_request(f"{name} must be a number")
        return Decimal(value)


def limit_in(params: Params) -> int:
    """Return the page size asked for in a query, 1 to 1000 (API notes, 3.2)."""
    if not params.has("limit"):
        return 1000
    text = params.text("limit")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= 1000:
        raise bad_request("limit must be an integer between 1 and 1000")
    return int(text)
