"""What it means that the database, Redis or the queue is away: a state of the world, which passes.

Whoever would take an error for a verdict, on a look, a program or a request, asks here first. Classes
alone do not say it: a statement that meets the crash of another backend raises `DatabaseError`, a
server that became read-only `InternalError`, a Redis without memory `ResponseError`.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Final

import psycopg2
from django.db import Error as DjangoDatabaseError
from django.db import InterfaceError, OperationalError
from kombu.exceptions import ChannelError, KombuError
from kombu.exceptions import ConnectionError as BrokerConnectionError
from redis import exceptions as redis_errors

DATABASE_ERRORS: Final = (DjangoDatabaseError, psycopg2.Error)
"""All that asking the database may raise; `database_is_away` tells which of it passes."""
QUEUE_ERRORS: Final = (
    KombuError,
    BrokerConnectionError,
    ChannelError,
    redis_errors.RedisError,
    OSError,
)
"""All that sending a message may raise: whatever it was, none can be counted on."""

_AWAY: Final = (OperationalError, InterfaceError, psycopg2.OperationalError, psycopg2.InterfaceError)
_AWAY_STATES: Final = re.compile("08|25006|25P03|26|28|3D|40|42501|53|55P03|57|58|F0|XX")
"""SQLSTATE, or how it begins (PostgreSQL, appendix A): connection, read only, idle in a transaction, a
prepared statement that went with its connection, who may come in, no such database, rolled back for
another's sake, what one may do, resources, a lock that is not free, the operator, the machine, the
server's settings, its own faults."""
_AWAY_REDIS: Final = (
    redis_errors.ConnectionError,  # also: loading, who may come in, too many clients
    redis_errors.TimeoutError,
    redis_errors.InvalidResponse,  # somebody else answers there
    redis_errors.ClusterError,
    redis_errors.AskError,
    redis_errors.TryAgainError,
    redis_errors.ExecAbortError,
    redis_errors.NoPermissionError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
)
_AWAY_CODES: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|UNBLOCKED|UNKILLABLE)\b"
)
"""How Redis says the same without a class of its own, or inside the error of a script."""


def database_is_away(error: BaseException) -> bool:
    """Whether the database does not serve now, so that the same may well succeed later."""
    if not isinstance(error, DATABASE_ERRORS):
        return False
    if isinstance(error, _AWAY):
        return True
    by_driver = next(
        (each for each in (error, error.__cause__) if isinstance(each, psycopg2.Error)), None
    )
    if by_driver is None:
        # Django's own word for a connection that a transaction lost on its way.
        return "new connection in an atomic block" in str(error)
    if by_driver.pgcode is None:  # no word of the server came: the connection broke off
        return type(by_driver) is psycopg2.DatabaseError
    plans_changed = "cached plan" in str(error)  # by a migration; a new connection plans anew
    return plans_changed or _AWAY_STATES.match(by_driver.pgcode) is not None


def redis_is_away(error: BaseException) -> bool:
    """Whether Redis does not serve now; a command that it would never accept is our fault."""
    if isinstance(error, _AWAY_REDIS):
        return True
    said = _AWAY_CODES.search(str(error))
    return isinstance(error, redis_errors.ResponseError) and said is not None


def is_outage(error: BaseException) -> bool:
    """Whether an error is about the world around us, and says nothing about what we were doing."""
    if database_is_away(error) or redis_is_away(error):
        return True
    return isinstance(error, QUEUE_ERRORS) and not isinstance(error, redis_errors.RedisError)


def line(error: BaseException) -> str:
    """Return the error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Complaint:
    """Says in the log that something is away: once a second at most, and that it is back.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self, logger: logging.Logger, what: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._what = what
        self._clock = clock
        self._said_s: float | None = None

    def utter(self, error: BaseException, **fields: object) -> None:
        now_s = self._clock()
        if self._said_s is None or now_s - self._said_s >= 1.0:
            self._said_s = now_s
            self._logger.error(self._what, extra={**fields, "why": line(error)})

    def end(self) -> None:
        """Say that it is over, if it was said that it began."""
        if self._said_s is not None:
            self._said_s = None
            self._logger.warning("%s: over", self._what)
