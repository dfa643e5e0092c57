"""Beat with one leader: of several, the one that holds a lock of the database sends the schedule."""

import logging
import math
import time
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg2
from celery.beat import SchedulingError
from django.db import close_old_connections, connection
from django.db.models import F, Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry
from kombu.exceptions import KombuError

from accounts.gateway import redis_client
from automations.outages import DATABASE_ERRORS, QUEUE_ERRORS, Complaint
from hubdefisats.broker import SLOT

logger = logging.getLogger(__name__)

_LOCK: Final = int.from_bytes(b"hub beat")
_LOOK_S: Final = 1.0
"""Between two looks at who leads."""
_BELIEVED_S: Final = 1.0
"""What is in memory of the schedule is read anew after this time."""
_TAKES_MESSAGES: Final = "hubdefisats:beat"
"""Written before each slot, for a Redis that answers may still refuse to write."""
_SKEW: Final = timedelta(seconds=1)
"""Clocks of our own machines may differ by this."""
_BEGIN: Final = """
SET statement_timeout = '5s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
"""
"""A leader that the network cut off must not stay one: the server ends its connection within 15 s."""


class Leadership:
    """A session lock on a connection that serves nothing else.

    Django's own connection may be closed and opened anew at any time, and a lock would go with it
    unnoticed. This one is asked each time, and whoever gets no answer leads no more.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._leads = False
        self._unknown = Complaint(logger, "nobody can say who leads")

    def holds(self) -> bool:
        """Whether this process leads now; where nobody does, it begins to."""
        try:
            if self._session is None:
                self._session = psycopg2.connect(**connection.get_connection_params())
                self._session.autocommit = True
                self._ask(_BEGIN + "SELECT true")
            # Asked for once only: a lock taken twice would have to be given back twice.
            question = "SELECT true" if self._leads else f"SELECT pg_try_advisory_lock({_LOCK})"
            self._leads = self._ask(question)
            self._unknown.end()
        except psycopg2.Error as error:
            self._unknown.utter(error)
            self.give_up()
        return self._leads

    def give_up(self) -> None:
        """End the connection, and the lock with it."""
        self._leads = False
        if self._session is not None:
            self._session.close()
            self._session = None

    def _ask(self, question: str) -> bool:
        with self._session.cursor() as cursor:
            cursor.execute(question)
            return bool(cursor.fetchone()[0])


class LeaderScheduler(DatabaseScheduler):  # type: ignore[misc] # it has no types
    """Celery's schedule in the database, sent by the beat that leads; the others wait.

    What is sent is first written down, on the condition that nobody did so before: no slot is sent
    twice, whoever dies where. What was due while nobody led, or nothing could be sent, is sent once.
    Where the message failed after that, the slot is given back and sent again a second later; Redis
    takes no second message of one slot, for the first may have arrived all the same.

    The rows alone say what was sent and when. What is in memory is a copy, read anew every second and
    after all that went otherwise than it says: a copy that is wrong silences nobody for longer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership()
        self._led = False
        self._read_s = -math.inf
        """When the copy was read, by a clock that nobody sets."""
        self._nothing_sent = Complaint(logger, "beat sends nothing")
        self._failed: list[tuple[ModelEntry, datetime | None]] = []
        """Slots that are written down and were not sent, as far as is known; with the one before."""
        super().__init__(*args, **kwargs)

    @property
    def schedule(self) -> dict[str, ModelEntry]:
        """The tasks by their names, as they were read last."""
        if self._schedule is None:
            self._read()
        assert self._schedule is not None
        return self._schedule

    def setup_schedule(self) -> None:
        """Leave the rows as the migrations and people made them; they are read when this beat leads."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, if this beat leads; return the seconds to wait."""
        leads = self._leadership.holds()
        if leads is not self._led:
            logger.warning("beat leads" if leads else "beat leads no more")
            self._forget()
        self._led = leads
        if not leads:
            return _LOOK_S
        try:
            self._give_back()
            if time.monotonic() - self._read_s >= _BELIEVED_S:
                self._read()
            wait_s: float = min(super().tick(*args, **kwargs), _LOOK_S)
        except (*DATABASE_ERRORS, *QUEUE_ERRORS) as error:
            self._nothing_sent.utter(error)
            self._forget()
            connection.close()
            return _LOOK_S
        self._nothing_sent.end()
        return wait_s

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        """Return the entry after this slot, if Redis takes messages now; the row is not written yet."""
        redis_client().set(_TAKES_MESSAGES, 1, ex=60)
        return next(entry)

    def apply_entry(self, entry: ModelEntry, producer: Any = None) -> None:
        if not _is_claimed(entry):
            self._forget()  # the row is not as we have it
            return
        logger.info("sending", extra={"task": entry.task, "name_of_task": entry.name})
        entry.options["headers"] = (entry.options.get("headers") or {}) | {SLOT: _slot(entry)}
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            self._failed.append((entry, entry.last_run_at))
            raise KombuError(str(error)) from error

    def _give_back(self) -> None:
        """Let slots whose messages failed be due again."""
        while self._failed:
            entry, before = self._failed[0]
            PeriodicTask.objects.filter(pk=entry.model.pk, last_run_at=entry.model.last_run_at).update(
                last_run_at=before, total_run_count=F("total_run_count") - 1
            )
            self._failed.pop(0)

    def close(self) -> None:
        self._leadership.give_up()
        super().close()

    def _read(self) -> None:
        close_old_connections()
        now = timezone.now()
        # A clock that was set back is no reason to wait until it has caught up.
        PeriodicTask.objects.filter(last_run_at__gt=now + _SKEW).update(last_run_at=now)
        self._schedule: dict[str, ModelEntry] | None = self.all_as_schedule()
        self._heap = None  # made anew from these
        self._read_s = time.monotonic()

    def _forget(self) -> None:
        """Believe nothing of what is in memory any more."""
        self._read_s = -math.inf

    def _ensure_connected(self) -> Any:
        # Celery's own would try for ever, and meanwhile neither tick nor stop.
        return self.connection.ensure_connection(max_retries=1)


def _slot(entry: ModelEntry) -> str:
    """Return the slot's name, the same whoever sends it, and however often."""
    return f"{entry.model.pk}:{(entry.last_run_at or entry.model.date_changed).isoformat()}"


def _is_claimed(entry: ModelEntry) -> bool:
    """Whether this slot is ours: nobody has sent the task since the time from which it was due.

    Raises:
        DatabaseError: nobody knows; the row has the answer.
    """
    unsent = Q(last_run_at=entry.last_run_at) | Q(last_run_at__isnull=True)
    claimed = PeriodicTask.objects.filter(unsent, pk=entry.model.pk).update(
        last_run_at=entry.model.last_run_at, total_run_count=F("total_run_count") + 1
    )
    return bool(claimed)
