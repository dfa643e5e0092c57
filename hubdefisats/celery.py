"""The Celery app; what it does is in the settings, which tasks there are in the apps."""

import logging.config
import os

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")

app = Celery("hubdefisats")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_rest(**_: object) -> None:
    """Keep Celery from laying its own handlers over the project's."""
    logging.config.dictConfig(settings.LOGGING)
