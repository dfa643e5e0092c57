"""Typed reading of environment variables, with a sentence for whoever set one wrongly."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables by name. An empty one counts as unset, for that is how composed files leave one out.

    Every method raises ImproperlyConfigured where a value is missing or cannot be read. The sentence
    shows the value of plain settings only: a URL or a free text may hold a password.
    """

    values: Mapping[str, str] = field(repr=False)

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return the text; without a default it must be set."""
        value = self.values.get(name, "") or default
        if value is None:
            raise ImproperlyConfigured(
                f"{name} is not set: set it, or start the local stack of this folder with `make run`."
            )
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return True or False, which are the only two ways to write it."""
        raw = self.text(name, default=str(default))
        if raw not in {"True", "False"}:
            raise ImproperlyConfigured(f"{name} must be True or False, was {raw!r}.")
        return raw == "True"

    def integer(self, name: str, *, default: int, least: int = 0) -> int:
        raw = self.text(name, default=str(default))
        if not (raw.isascii() and raw.isdigit() and int(raw) >= least):
            raise ImproperlyConfigured(f"{name} must be a whole number from {least} on, was {raw!r}.")
        return int(raw)

    def percent(self, name: str, *, default: str) -> Decimal:
        """Return a share in percent, above 0 and below 100, with up to 4 places."""
        raw = self.text(name, default=default)
        number = Decimal(raw) if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,4})?", raw) else Decimal(0)
        if number == 0:
            raise ImproperlyConfigured(
                f"{name} must be a percentage above 0 and below 100, was {raw!r}."
            )
        return number

    def choice(self, name: str, choices: Collection[str], *, default: str) -> str:
        raw = self.text(name, default=default)
        if raw not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, was {raw!r}.")
        return raw

    def words(self, name: str, *, default: str | None = None) -> list[str]:
        """Return the parts between commas, without the blanks around them."""
        parts = [part.strip() for part in self.text(name, default=default).split(",")]
        return [part for part in parts if part]

    def url(self, name: str, schemes: Collection[str], *, default: str | None = None) -> str:
        """Return the URL without a slash at its end; its scheme is one of `schemes`."""
        raw = self.text(name, default=default).rstrip("/")
        try:
            parts = urlsplit(raw)
            readable = parts.scheme in schemes and bool(parts.netloc) and parts.port != 0
        except ValueError:
            readable = False
        if not readable:
            like = " or ".join(f"{scheme}://…" for scheme in schemes)
            raise ImproperlyConfigured(f"{name} must be a URL like {like}.")
        return raw
