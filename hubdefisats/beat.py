"""Beat with one leader: of several, the one that holds a lock of the database sends the schedule."""

import logging
from typing import Any, Final

import psycopg2
from django.db import DatabaseError, connection
from django.db.models import F, Q
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

logger = logging.getLogger(__name__)

_LOCK: Final = int.from_bytes(b"hub beat")
_LOOK_S: Final = 1.0
"""Between two looks at who leads."""
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
        except psycopg2.Error as error:
            logger.error("nobody can say who leads", extra={"why": " ".join(str(error).split())})
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
    twice, whoever dies where. What was due while nobody led is sent once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership()
        self._led = False
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, if this beat leads; return the seconds to wait."""
        leads = self._leadership.holds()
        if leads and not self._led:
            self._schedule = self.all_as_schedule()  # as the one that led before has left it
            self._heap = None
        if leads is not self._led:
            logger.warning("beat leads" if leads else "beat leads no more")
        self._led = leads
        return min(super().tick(*args, **kwargs), _LOOK_S) if leads else _LOOK_S

    def reserve(self, entry: Any) -> Any:
        """Return the entry after this slot; `apply_entry` writes its row at once."""
        return next(entry)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        if _is_claimed(entry):
            super().apply_entry(entry, producer=producer)

    def close(self) -> None:
        self._leadership.give_up()
        super().close()


def _is_claimed(entry: Any) -> bool:
    """Whether this slot is ours: nobody has sent the task since the time from which it was due."""
    unsent = Q(last_run_at=entry.last_run_at) | Q(last_run_at__isnull=True)
    try:
        claimed = PeriodicTask.objects.filter(unsent, pk=entry.model.pk).update(
            last_run_at=entry.model.last_run_at, total_run_count=F("total_run_count") + 1
        )
    except DatabaseError as error:
        logger.error("task not sent", extra={"task": entry.task, "why": " ".join(str(error).split())})
        return False
    return bool(claimed)
