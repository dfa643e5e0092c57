"""Word from those who act to those who watch: an account is not what it was, a cooldown will end.

Hints that may get lost: whoever watches reads again on a timer, and looks again by time, anyway.
"""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from accounts.models import Account
from exchange.entries import micros, moment, position_of, position_row
from exchange.position import Position, PositionId

logger = logging.getLogger(__name__)

CHANNEL: Final = "hubdefisats:changed"
_PATIENCE_S: Final = 1.0
_UNREADABLE: Final = (ValueError, KeyError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """A position as the exchange showed it in answer to an action of ours, and when that was."""

    position: Position
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """This account's positions are not what they were."""

    account_id: int
    now: Now | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownEnds:
    """An automation was asked for a look at a position, and refused until then."""

    account_id: int
    automation_id: int
    position_id: PositionId | None
    until: datetime


Word = Changed | CooldownEnds


def announce(redis: Redis, account: Account, *, position: Position | None = None) -> None:
    """Say that an account changed; `position` is what the exchange has just shown of it."""
    if position is None:
        _publish(redis, account, str(account.pk))
        return
    row = {"account": account.pk, "at": micros(datetime.now(UTC)), "position": position_row(position)}
    _publish(redis, account, json.dumps(row))


def announce_cooldown(
    redis: Redis, account: Account, automation_id: int, position_id: str | None, until: datetime
) -> None:
    """Say until when an automation pauses on a position, so that somebody looks at that moment."""
    row = {"account": account.pk, "automation": automation_id, "on": position_id}
    _publish(redis, account, json.dumps(row | {"until": micros(until)}))


def _publish(redis: Redis, account: Account, text: str) -> None:
    try:
        redis.publish(CHANNEL, text)
    except RedisError as error:
        extra = {
            "account": account.pk,
            "account_name": account.name,
            "why": type(error).__name__,
        }
        logger.warning("change not announced", extra=extra)


def listen(redis: Redis, heed: Callable[[Word], None], stopping: threading.Event) -> None:
    """Call `heed` with each word that is announced until `stopping` is set."""
    while not stopping.is_set():
        try:
            _listen_once(redis, heed, stopping)
        except RedisError:
            stopping.wait(_PATIENCE_S)
        except Exception:  # the thread's outermost loop: it hears again, whatever it was
            logger.exception("words not heard")
            stopping.wait(_PATIENCE_S)


def _listen_once(redis: Redis, heed: Callable[[Word], None], stopping: threading.Event) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(CHANNEL)
        while not stopping.is_set():
            message = subscription.get_message(timeout=_PATIENCE_S)
            word = _word(message["data"]) if message else None
            if word is None:
                continue
            try:
                heed(word)
            except Exception:  # the thread's outermost loop: what one word says ends no listening
                logger.exception("word not heeded", extra={"word": word})


def _word(data: Any) -> Word | None:
    """Return what a message says; None where it says nothing that we can read."""
    try:
        if data.isdigit():
            return Changed(account_id=int(data))
        said = json.loads(data)
        return _cooldown(said) if "until" in said else _changed(said)
    except _UNREADABLE:
        return None


def _cooldown(said: dict[str, Any]) -> CooldownEnds:
    return CooldownEnds(
        account_id=int(said["account"]),
        automation_id=int(said["automation"]),
        position_id=said["on"],
        until=moment(said["until"]),
    )


def _changed(said: dict[str, Any]) -> Changed:
    account_id = int(said["account"])
    try:
        now = Now(position=position_of(said["position"]), at=moment(said["at"]))
    except _UNREADABLE:  # of another version of ours, say: that it changed is true all the same
        return Changed(account_id=account_id)
    return Changed(account_id=account_id, now=now)
