"""What stream processes say of themselves each second: that they turn, and what they see."""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from redis import Redis

HEARTBEAT_KEY: Final = "hubdefisats:stream:heartbeat"
"""Written by every stream process, and by each also with `:` and its number; both expire soon."""
HEARTBEAT_TTL_S: Final = 5


class Sight(StrEnum):
    """How prices, or an account's positions, come in."""

    LIVE = "live"
    """By stream."""
    POLLED = "polled"
    """By REST alone: later than by stream."""
    DARK = "dark"
    """Not, or too late to act on."""


def beat(redis: Redis, number: int | None, seen: Mapping[str, Any]) -> None:
    """Say what one process sees.

    Raises:
        redis.exceptions.RedisError
    """
    said = json.dumps({"process": number, **seen})
    for key in (HEARTBEAT_KEY, f"{HEARTBEAT_KEY}:{number}"):
        redis.set(key, said, ex=HEARTBEAT_TTL_S)


def beats(redis: Redis) -> list[dict[str, Any]]:
    """Return what each living process said last; empty where none lives.

    Raises:
        redis.exceptions.RedisError
    """
    own_keys = list(redis.scan_iter(match=f"{HEARTBEAT_KEY}:*", count=1000))
    texts = redis.mget([HEARTBEAT_KEY, *own_keys])
    said = [json.loads(text) for text in texts if text is not None]
    by_process = {each.get("process"): each for each in said if isinstance(each, dict)}
    return list(by_process.values()) or [{} for _ in said]


def sees(said: Mapping[str, Any], account_id: int) -> bool:
    """Whether a process that said this watches accounts at all, and this one not in vain."""
    dark = [account for market in _markets(said) for account in market["sight"]["dark"]]
    return said.get("accounts") != 0 and account_id not in dark


def summary(all_said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how all prices and accounts are seen; a network's prices as its worst process has them."""
    prices: dict[str, Sight] = {}
    accounts = dict.fromkeys(Sight, 0)
    for said in all_said:
        for network, market in said.get("markets", {}).items():
            worst = list(Sight).index
            prices[network] = max(Sight(market["prices"]), prices.get(network, Sight.LIVE), key=worst)
            accounts[Sight.LIVE] += market["sight"]["live"]
            accounts[Sight.POLLED] += market["sight"]["polled"]
            accounts[Sight.DARK] += len(market["sight"]["dark"])
    return {"prices": prices, "accounts": accounts}


def complaint(found: Mapping[str, Any]) -> str | None:
    """Return in a few words what of a summary is not as it should be; None: all is.

    Accounts beyond the exchange's sockets are polled as they should be.
    """
    for sight in (Sight.DARK, Sight.POLLED):
        if networks := [network for network, seen in found["prices"].items() if seen is sight]:
            return f"prices {sight}: {', '.join(networks)}"
    dark = found["accounts"][Sight.DARK]
    return f"accounts dark: {dark}" if dark else None


def _markets(said: Mapping[str, Any]) -> list[Any]:
    return list(said.get("markets", {}).values())
