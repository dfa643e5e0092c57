"""The pool of a worker: Celery's threads, warm from the start, and each task ended by its deadline."""

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from celery.concurrency.thread import TaskPool

from automations.outages import is_outage

logger = logging.getLogger(__name__)

EXIT_STATUS: Final = 70
"""Of a worker that ended because a task would not."""
_LOOK_EVERY_S: Final = 1.0


@dataclass(slots=True)
class _Running:
    """A task that a thread carries out."""

    task_id: str
    thread_id: int
    slow_at: float
    ends_at: float


class DeadlinePool(TaskPool):
    """Threads rather than processes: hundreds wait for the exchange at the price of one interpreter.

    Nobody can stop a thread from outside. So each call that a task makes has a timeout of its own
    (the exchange's, Redis's, PostgreSQL's statement_timeout); a task that is slow all the same is
    told with its stack at the soft limit, and at the hard one the whole process ends as if killed.
    Its supervisor starts it anew, and what was on its way to the exchange is settled by proof.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executor = ThreadPoolExecutor(self.limit, "task", initializer=_warm_up)
        self._running: dict[int, _Running] = {}

    def on_start(self) -> None:
        # A thread is made when all others are busy, so they wait for each other once.
        met = threading.Barrier(self.limit)
        for _ in range(self.limit):
            self.executor.submit(_meet, met)
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        *,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        correlation_id: str = "",
        **options: Any,
    ) -> Any:
        def limited(*of_target: Any, **more: Any) -> Any:
            mine, now = threading.get_ident(), time.monotonic()
            self._running[mine] = _Running(
                correlation_id,
                mine,
                slow_at=now + (soft_timeout or float("inf")),
                ends_at=now + (timeout or float("inf")),
            )
            try:
                return target(*of_target, **more)
            finally:
                del self._running[mine]

        return super().on_apply(limited, args, kwargs, callback, accept_callback, **options)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            for running in tuple(self._running.values()):
                if now > running.slow_at:
                    running.slow_at = float("inf")
                    logger.error("task is slow", extra=_where(running))
                if now > running.ends_at:
                    logger.critical("task would not end: this worker does", extra=_where(running))
                    logging.shutdown()
                    os._exit(EXIT_STATUS)


def _where(running: _Running) -> Mapping[str, str]:
    """Return what the task does now; a stack names places in the code and no values."""
    frame = sys._current_frames().get(running.thread_id)  # noqa: SLF001 - documented, for this use
    stack = traceback.extract_stack(frame) if frame else []
    at = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(stack[-8:]))
    return {"task": running.task_id, "at": at}


def _meet(met: threading.Barrier) -> None:
    with suppress(threading.BrokenBarrierError):
        met.wait(5)


def _warm_up() -> None:
    """Open what the first task of a thread would otherwise open while a price falls."""
    from accounts.gateway import redis_client  # noqa: PLC0415 - models are not ready when this loads
    from automations.models.prepared import prepare_all  # noqa: PLC0415

    try:
        prepare_all()
        redis_client().ping()
    except Exception as error:  # of it the executor would let no thread ever do anything again
        if not is_outage(error):  # the task itself says it better
            logger.exception("thread not warmed up")
