"""The Django project. Its Celery app loads with it, so that every `shared_task` finds its broker."""

from hubdefisats.celery import app as celery_app

__all__ = ["celery_app"]
