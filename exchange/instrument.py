"""Which market we trade, as the exchange spells it in topics and paths: the only place that does."""

from typing import Final

PAIR: Final = "btc_usd"

_TOPICS: Final = f"futures/inverse/{PAIR}"
_PATHS: Final = "/futures"


def topic(name: str) -> str:
    """Return the stream's topic of that name, for this market."""
    return f"{_TOPICS}/{name}"


def path(name: str) -> str:
    """Return the path of REST, without its version, of what is about this market."""
    return f"{_PATHS}/{name}"
