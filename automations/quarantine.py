"""Poisoned looks: counted as they begin and end; too many in a row without an end are quarantined."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, cast

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from redis import Redis

from accounts.crypto import SealBrokenError
from accounts.gateway import redis_client
from automations import journal
from automations.models import Automation, Quarantine
from automations.models.kinds import typed
from automations.outages import is_outage
from exchange.errors import ExchangeError
from exchange.position import PositionId
from exchange.reach import Reach

logger = logging.getLogger(__name__)

EXPIRES_S: Final = 3600
"""Looks that failed longer ago than this are no row any more."""


def key(automation_id: int, position_id: PositionId | None, *, closing: bool = False) -> str:
    """Return where Redis counts the looks that began since the last that ended."""
    return f"hubdefisats:{'closing' if closing else 'looks'}:{automation_id}:{position_id or ''}"


@contextmanager
def counted(
    automation: Automation, position_id: PositionId | None, *, closing: bool = False
) -> Iterator[bool]:
    """Count a look while it lasts; yield whether it may be carried out at all.

    Only to be called under the position's lock, or that for closing alone: a message that comes twice
    is counted once. While Redis is away nothing is counted and every look may be carried out.
    """
    redis = redis_client()
    reach, looks = _reach(redis), key(automation.pk, position_id, closing=closing)
    began = cast("int", reach.call(lambda: _begin(redis, looks)) or 0)
    poisoned = began > settings.TASK_DELIVERIES
    if poisoned:
        quarantine(automation, position_id, deliveries=began - 1)
    try:
        yield not poisoned
    except Exception as error:
        # Some ends say something about the world, and nothing about the look.
        if isinstance(error, ExchangeError | SealBrokenError) or is_outage(error):
            reach.call(lambda: redis.delete(looks))
        raise
    # Whatever else is raised, and a worker that is killed, leave the count as it is.
    reach.call(lambda: redis.delete(looks))


@cache
def _reach(redis: Redis) -> Reach:  # noqa: ARG001 - one for each connection
    return Reach("counting of looks")


def _begin(redis: Redis, looks: str) -> int:
    with redis.pipeline(transaction=False) as at_once:
        at_once.incr(looks)
        at_once.expire(looks, EXPIRES_S)
        began, _ = at_once.execute()
    return int(began)


def quarantine(automation: Automation, position_id: PositionId | None, *, deliveries: int) -> None:
    """Let nobody look any more, and tell the owner; a pair is quarantined once."""
    why = (
        f"{deliveries} looks in a row did not end: their worker was killed, or met a fault of ours;"
        " the workers' logs say which"
    )
    now = timezone.now()
    with transaction.atomic():
        row, made = Quarantine.objects.get_or_create(
            automation_id=automation.pk,
            position_id=position_id or "",
            defaults={"since": now, "deliveries": deliveries, "why": why},
        )
        if made:
            journal.record(
                automation,
                journal.QUARANTINED,
                message=f"nobody looks any more until a person releases it: {why}",
                data={"deliveries": deliveries},
                now=now,
                position_id=row.position_id,
            )
    logger.error("quarantined", extra=_fields(automation, row.position_id) | {"why": why})


def release(row: Quarantine, *, by: str) -> None:
    """Let the automation look at the position again."""
    automation = typed(row.automation)
    with transaction.atomic():
        row.delete()
        journal.record(
            automation,
            journal.RELEASED,
            message=f"{by} released it from quarantine",
            data={"by": by},
            now=timezone.now(),
            position_id=row.position_id,
        )
    logger.warning("released", extra=_fields(automation, row.position_id) | {"by": by})


def quarantined_on(accounts: Collection[int]) -> dict[int, frozenset[PositionId]]:
    """Return the quarantined positions of all automations of these accounts, by their ids."""
    found: dict[int, set[PositionId]] = {}
    rows = Quarantine.objects.filter(automation__account__in=accounts).order_by()
    for automation, position_id in rows.values_list("automation_id", "position_id"):
        found.setdefault(automation, set()).add(PositionId(position_id))
    return {automation: frozenset(positions) for automation, positions in found.items()}


def _fields(automation: Automation, position_id: str) -> dict[str, object]:
    return {
        "account": automation.account_id,
        "account_name": automation.account.name,
        "automation": automation.pk,
        "position": position_id,
    }
