"""Whether each part does its work, for whoever decides to restart one or to send people elsewhere."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from automations import delivering, heartbeat
from automations.outages import DATABASE_ERRORS, is_outage
from hubdefisats.celery import app

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 1.0


class NotReadyError(Exception):
    """A part does not do its work; the message says why in a few words, without addresses."""


def live(_: HttpRequest) -> JsonResponse:
    """Say that this process serves, whatever the other parts do."""
    return JsonResponse({"live": True})


def ready(_: HttpRequest) -> JsonResponse:
    """Say for each part whether it does its work: 200 when all do, else 503.

    `stream` tells how prices and accounts are seen, where a stream process lives; `mail` what owners
    are not told for some time, where there is such. That is no reason to restart anything.
    """
    parts = {part: _state(check) for part, check in _CHECKS.items()}
    all_ready = all(state == "ready" for state in parts.values())
    said: dict[str, Any] = {"ready": all_ready, "parts": parts}
    with suppress(redis.RedisError), _client() as client:
        if beats := heartbeat.beats(client):
            said["stream"] = heartbeat.summary(beats)
    with suppress(*DATABASE_ERRORS):
        if late := delivering.overdue(timezone.now()):
            said["mail"] = {"waiting": late[0], "since": late[1].isoformat(timespec="seconds")}
    return JsonResponse(said, status=200 if all_ready else 503)


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except NotReadyError as error:
        return str(error)
    except Exception as error:  # whatever it is, the other parts are to be told of too
        if not is_outage(error):
            logger.exception("part cannot be checked")
        return type(error).__name__
    return "ready"


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _redis() -> None:
    with _client() as client:
        client.ping()


def _urgent() -> None:
    _answers("urgent-*")


def _worker() -> None:
    _answers("worker@*")


def _beat() -> None:
    _answers("celerybeat@*")
    _sends()


def _sends() -> None:
    """Whoever ticks need not send: the rows say what was sent, and when."""
    now = timezone.now()
    regular = PeriodicTask.objects.filter(enabled=True, one_off=False, interval__isnull=False)
    sent = {
        task: now - (task.last_run_at or task.date_changed)
        for task in regular.exclude(start_time__gt=now).select_related("interval")
    }
    silent = [task for task in sent if sent[task] > 2 * task.schedule.run_every]
    if silent and min(sent, key=lambda task: sent[task]) in silent:
        raise NotReadyError("beat sends nothing")
    if silent:
        raise NotReadyError(f"not sent: {', '.join(sorted(task.name for task in silent))}")


def _stream() -> None:
    with _client() as client:
        beats = heartbeat.beats(client)
    if not beats:
        raise NotReadyError("no heartbeat")
    if why := heartbeat.complaint(heartbeat.summary(beats)):
        raise NotReadyError(why)


def _answers(nodes: str) -> None:
    _redis()  # where it is down, asking by it would wait long and say less
    if not app.control.ping(timeout=_PATIENCE_S, limit=1, pattern=nodes, matcher="glob"):
        raise NotReadyError("no answer")


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
    )


_CHECKS: Final = {
    "database": _database,
    "redis": _redis,
    "urgent": _urgent,
    "worker": _worker,
    "stream": _stream,
    "beat": _beat,
}
