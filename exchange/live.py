"""The live view: the latest price and positions in Redis, each with its time and source."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from redis import Redis

from exchange.account import Balance
from exchange.entries import (
    balance_of,
    balance_text,
    micros,
    positions_of,
    positions_text,
    quote_of,
    quote_text,
)
from exchange.market import Quote, Source
from exchange.position import CROSS, Position, PositionId, PositionsSnapshot
from exchange.reach import Reach, connect

__all__ = ["LiveView", "View", "connect", "is_fresh"]

logger = logging.getLogger(__name__)

_KEPT_S: Final = 120
"""Entries vanish by themselves; no reader may want one older."""
_SKEW: Final = timedelta(seconds=1)
"""Clocks of our own machines may differ by this; an entry from a later future is not believed."""

_PUT_NEWER: Final = """
local stored = redis.call('GET', KEYS[1])
local stored_at = stored and tonumber(string.match(stored, '^%d+') or '')
if stored_at and stored_at > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""
"""An older value never replaces a newer one, whoever comes last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the live view holds, of whatever age; None is unknown, never empty."""

    quote: Quote | None = None
    positions: PositionsSnapshot | None = None
    """The isolated trades."""
    cross: PositionsSnapshot | None = None
    """The cross position, or none."""
    balance: Balance | None = None


def is_fresh(
    value: Quote | PositionsSnapshot,
    *,
    max_age_s: float,
    now: datetime,
    not_before: datetime | None = None,
) -> bool:
    """Whether `value` may be acted on at `now`; one from the future has no age and may not.

    `not_before` is about the reading itself: a stream confirms only what has events.
    """
    if not_before is not None and value.at < not_before:
        return False
    fresh_at = value.fresh_at if isinstance(value, PositionsSnapshot) else value.at
    return now - timedelta(seconds=max_age_s) <= fresh_at <= now + _SKEW


class LiveView:
    """Values by network and account, shared by all processes.

    Redis may vanish: then reads say unknown and writes are dropped, with one log line an outage.

    Args:
        redis: made by `connect`, or as impatient.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._reach = Reach("live view", clock=clock)
        self._put_newer = redis.register_script(_PUT_NEWER)

    def put_price(self, network: str, quote: Quote) -> None:
        self._put(_price_key(network), quote.at, quote_text(quote))

    def put_positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        self._put(_positions_key(account_id), snapshot.at, positions_text(snapshot))

    def put_cross(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        """Put the cross position, or that it is flat; it is read apart from the trades."""
        self._put(_cross_key(account_id), snapshot.at, positions_text(snapshot))

    def put_balance(self, account_id: int, balance: Balance) -> None:
        self._put(_balance_key(account_id), balance.at, balance_text(balance))

    def outdate(
        self, account_id: int, *, before: datetime, position_id: PositionId | None = None
    ) -> None:
        """Make positions seen before that moment unknown: the account was just changed.

        Whoever asks for one position is not concerned where another one was changed. The balance
        stays: what we spent since it was read is in our own record.
        """
        text = str(micros(before))
        self._put(_floor_key(account_id), before, text)
        if position_id is not None:
            self._put(_latest_key(account_id, position_id), before, text)

    def put_answer(self, account_id: int, position: Position, *, at: datetime) -> None:
        """Keep a position as the exchange answered to a write of ours that was settled then."""
        answer = PositionsSnapshot(positions=(position,), at=at, source=Source.REST)
        self._put(_latest_key(account_id, position.id), at, positions_text(answer))

    def price(self, network: str, *, max_age_s: float, now: datetime) -> Quote | None:
        quote = self.read(network, None).quote
        return quote if quote and is_fresh(quote, max_age_s=max_age_s, now=now) else None

    def positions(
        self, account_id: int, *, max_age_s: float, now: datetime, not_before: datetime | None = None
    ) -> PositionsSnapshot | None:
        held = self.read(None, account_id).positions
        fresh = held and is_fresh(held, max_age_s=max_age_s, now=now, not_before=not_before)
        return held if fresh else None

    def read(
        self, network: str | None, account_id: int | None, position_id: PositionId | None = None
    ) -> View:
        """Return what is known, in one round trip; what is not asked for is None.

        Where one position is asked for, positions may be that one alone, as the exchange answered to
        the newest write of ours.
        """
        if account_id is None or position_id is None:
            return self.read_all([(network, account_id)])[0]
        keys = [*_keys(network, account_id), _latest_key(account_id, position_id)]
        texts = self._get(keys)
        if texts is None:
            return View()
        return _view(dict(zip(keys, texts, strict=True)), network, account_id, position_id)

    def read_all(self, asked: Sequence[tuple[str | None, int | None]]) -> list[View]:
        """Return the same for many networks and accounts, all of them in one round trip."""
        keys = list(dict.fromkeys(key for each in asked for key in _keys(*each)))
        texts = self._get(keys) if keys else None
        if texts is None:
            return [View() for _ in asked]
        held = dict(zip(keys, texts, strict=True))
        return [_view(held, network, account_id) for network, account_id in asked]

    def _put(self, key: str, at: datetime, text: str) -> None:
        self._reach.call(lambda: self._put_newer(keys=[key], args=[micros(at), text, _KEPT_S]))

    def _get(self, keys: Sequence[str]) -> list[str | None] | None:
        found = cast(
            "list[bytes | str | None] | None", self._reach.call(lambda: self._redis.mget(keys))
        )
        if found is None:
            return None
        return [each.decode() if isinstance(each, bytes) else each for each in found]


def _keys(network: str | None, account_id: int | None) -> Iterator[str]:
    if network is not None:
        yield _price_key(network)
    if account_id is not None:
        yield from (_positions_key(account_id), _cross_key(account_id))
        yield from (_balance_key(account_id), _floor_key(account_id))


def _view(
    held: Mapping[str, str | None],
    network: str | None,
    account_id: int | None,
    position_id: PositionId | None = None,
) -> View:
    try:
        quote = None if network is None else _quote(held[_price_key(network)])
        if account_id is None:
            return View(quote=quote)
        floor = held[_floor_key(account_id)]
        latest = floor if position_id is None else held[_latest_key(account_id, position_id)]
        of_trades, of_cross = (floor, latest) if position_id == CROSS else (latest, floor)
        trades = _newest(of_trades, held[_positions_key(account_id)])
        if trades is not None and of_trades is not floor and not _has(trades, position_id):
            # It may have been opened since: then what is known is older than the account's last change.
            trades = _newest(floor, held[_positions_key(account_id)])
        return View(
            quote=quote,
            positions=trades,
            cross=_newest(of_cross, held[_cross_key(account_id)]),
            balance=_balance(held[_balance_key(account_id)]),
        )
    except (ValueError, KeyError, ArithmeticError) as error:
        # Written by another version of ours, say: unknown, until a new value comes.
        logger.warning("live view unreadable", extra={"why": str(error)})
        return View()


def _has(snapshot: PositionsSnapshot, position_id: PositionId | None) -> bool:
    return any(position.id == position_id for position in snapshot.positions)


def _price_key(network: str) -> str:
    return f"live:{network}:price"


def _positions_key(account_id: int) -> str:
    return f"live:{account_id}:positions"


def _cross_key(account_id: int) -> str:
    return f"live:{account_id}:cross"


def _balance_key(account_id: int) -> str:
    return f"live:{account_id}:balance"


def _latest_key(account_id: int, position_id: PositionId) -> str:
    return f"live:{account_id}:latest:{position_id}"


def _floor_key(account_id: int) -> str:
    return f"live:{account_id}:floor"


def _quote(text: str | None) -> Quote | None:
    return None if text is None else quote_of(text)


def _balance(text: str | None) -> Balance | None:
    return None if text is None else balance_of(text)


def _newest(newer: str | None, text: str | None) -> PositionsSnapshot | None:
    """Return the snapshot of a text, or what came of a write since: one position, or not known."""
    if text is not None and (newer is None or _stamp(text) >= _stamp(newer)):
        return positions_of(text)
    return positions_of(newer) if newer is not None and " " in newer else None


def _stamp(text: str) -> int:
    return int(text.partition(" ")[0])
