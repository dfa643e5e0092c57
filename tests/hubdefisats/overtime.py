"""A Celery app with one task that takes as long as it is told, limited to one and two seconds."""

import os
import time
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init

# Not the current app: the test that imports this has the platform's tasks to send as well.
app = Celery("overtime", broker=os.environ["REDIS_URL"], set_as_current=False)
app.conf.worker_pool = "hubdefisats.workerpool:DeadlinePool"
app.conf.task_ignore_result = True
app.conf.worker_concurrency = 2


@setup_logging.connect
@worker_init.connect
def as_the_platform(**_: Any) -> None:
    """Let Django and its logging be what they are in a worker of the platform."""
    import django  # noqa: PLC0415 - this module is imported by the test as well

    django.setup()


@app.task(soft_time_limit=1, time_limit=2)
def rest(seconds: float) -> None:
    time.sleep(seconds)
