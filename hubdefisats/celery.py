"""The Celery app; what it does is in the settings, which tasks there are in the apps."""

import logging
import logging.config
import multiprocessing
import os
import signal
from typing import Any, Final

from celery import Celery
from celery.signals import beat_init, celeryd_after_setup, setup_logging, task_prerun, worker_ready
from django.conf import settings
from django.db import close_old_connections, connection

from automations.outages import is_outage, line
from hubdefisats import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")
logger = logging.getLogger(__name__)

_LOOK: Final = "automations.tasks.act"
_FOREIGN: Final = ("CELERY_", "FLOWER_")
_OURS: Final = {"FLOWER_BASIC_AUTH"}
SETTLING_PATIENCE_S: Final = 10.0
"""An exchange that does not answer keeps no worker from starting for longer than this."""

# Other projects' variables: Celery and Flower would prefer them to our settings.
for _name in [each for each in os.environ if each.startswith(_FOREIGN) and each not in _OURS]:
    del os.environ[_name]
broker.use()
app = Celery("hubdefisats")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_rest(**_: object) -> None:
    """Keep Celery from laying its own handlers over the project's."""
    logging.config.dictConfig(settings.LOGGING)


@celeryd_after_setup.connect
def settle_first(*, patience_s: float = SETTLING_PATIENCE_S, **_: object) -> None:
    """Settle what earlier workers left open, before this one takes its first message.

    In a process of its own: what is connected here, every process forked later would share. What is
    not settled in time blocks its own position only, until a look or beat settles it.
    """
    settling = multiprocessing.get_context("fork").Process(target=_settle, args=(patience_s,))
    settling.start()
    settling.join()
    if settling.exitcode == -signal.SIGALRM:
        logger.warning("not all is settled yet", extra={"waited_s": patience_s})


def _settle(within_s: float) -> None:
    from automations.reconciling import settle_all  # noqa: PLC0415 - models are not ready when this loads

    # Nobody listens to it, so it ends this process: in time, and also where the worker is gone.
    signal.setitimer(signal.ITIMER_REAL, within_s)
    try:
        settle_all()
    except Exception as error:  # a child's outermost call; whatever it is, beat settles soon
        level = logging.WARNING if is_outage(error) else logging.ERROR
        logger.log(level, "not settled at the start", exc_info=True, extra={"why": line(error)})


@task_prerun.connect
def close_what_is_broken(task: Any, **_: Any) -> None:
    """Let a task begin on a connection that works, and that the thread had before if it can be.

    Celery itself would close it around each task (CELERY_DB_REUSE_MAX keeps it from that), and opening
    one takes longer than everything else between a tick and its order.
    """
    if task.request.is_eager:  # then the connection is the caller's
        return
    close_old_connections()
    if task.name == _LOOK:  # whose first question is its own check: see `services.act`
        connection.health_check_done = True  # type: ignore[attr-defined]  # the stubs lack it


@beat_init.connect
def stop_between_two_slots(sender: Any, **_: Any) -> None:
    """Let beat end where it is asked to, and not out of whatever it just does.

    Celery's own handler raises, in the middle of a call to Redis as well, whose client then fails with
    an error of its own: beat logs that, and goes on for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sender.stop())


@worker_ready.connect
def say_who_is_told(**_: object) -> None:
    """Say at the start what nobody should find out in the morning after."""
    if not settings.EMAIL_HOST and "notifications" in app.amqp.queues.consume_from:
        logger.warning("EMAIL_URL is not set: nobody is mailed, notifications are written to this log")
