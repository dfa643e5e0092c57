"""Whether each part does its work, for whoever decides to restart one or to send people elsewhere."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from automations import heartbeat
from hubdefisats.celery import app

_PATIENCE_S: Final = 1.0


class NotReadyError(Exception):
    """A part does not do its work; the message says why in a few words, without addresses."""


def live(_: HttpRequest) -> JsonResponse:
    """Say that this process serves, whatever the other parts do."""
    return JsonResponse({"live": True})


def ready(_: HttpRequest) -> JsonResponse:
    """Say for each part whether it does its work: 200 when all do, else 503.

    `stream` tells how prices and accounts are seen, where a stream process lives.
    """
    parts = {part: _state(check) for part, check in _CHECKS.items()}
    all_ready = all(state == "ready" for state in parts.values())
    said: dict[str, Any] = {"ready": all_ready, "parts": parts}
    with suppress(redis.RedisError), _client() as client:
        if beats := heartbeat.beats(client):
            said["stream"] = heartbeat.summary(beats)
    return JsonResponse(said, status=200 if all_ready else 503)


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except NotReadyError as error:
        return str(error)
    except (DatabaseError, redis.RedisError, OSError) as error:
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
