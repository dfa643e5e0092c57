"""Counts of what happened to accounts, kept in Redis for the metrics page; a hint, not the record."""

from contextlib import suppress
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

KEY: Final = "hubdefisats:counts"


def count(redis: Redis, event: str, account_id: int) -> None:
    """Add one; where Redis is away the journal still has the event."""
    with suppress(RedisError):
        redis.hincrby(KEY, f"{event}:{account_id}", 1)


def counts(redis: Redis) -> dict[tuple[str, int], int]:
    """Return how often each event happened to each account.

    Raises:
        RedisError: Redis is away.
    """
    found: dict[bytes, bytes] = redis.hgetall(KEY)  # type: ignore[assignment]
    split = ((name.decode().rpartition(":"), int(value)) for name, value in found.items())
    return {(event, int(account)): value for (event, _, account), value in split}
