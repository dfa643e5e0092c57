"""The Celery app; what it does is in the settings, which tasks there are in the apps."""

import logging.config
import os
from contextlib import suppress

from celery import Celery
from celery.signals import celeryd_after_setup, setup_logging, worker_process_init
from django.conf import settings
from django.db import DatabaseError, connection
from redis.exceptions import RedisError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")

app = Celery("hubdefisats")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_rest(**_: object) -> None:
    """Keep Celery from laying its own handlers over the project's."""
    logging.config.dictConfig(settings.LOGGING)


def warm_up(**_: object) -> None:
    """Open what the first task of a worker process would otherwise open while a price falls."""
    from accounts.gateway import redis_client  # noqa: PLC0415 - models are not ready when this loads

    with suppress(DatabaseError, RedisError):  # the task itself says it better
        connection.ensure_connection()
        redis_client().ping()


@celeryd_after_setup.connect
def warm_each_process(**_: object) -> None:
    """Connect late, so that it runs after Celery's own cleaning of what a process inherited."""
    worker_process_init.connect(warm_up, weak=False)
