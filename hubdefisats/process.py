"""Which of the platform's programs this process is, as whoever started it says."""

import os
from enum import StrEnum

from django.core.exceptions import ImproperlyConfigured


class Process(StrEnum):
    WEB = "web"
    WORKER = "worker"
    URGENT = "urgent"
    STREAM = "stream"
    BEAT = "beat"
    FLOWER = "flower"
    MANAGE = "manage"
    """A command that a person runs, and whatever nobody named."""


def current() -> Process:
    """Return what `PROCESS` in the environment says; `manage` where it says nothing.

    Raises:
        ImproperlyConfigured: it names no program of ours.
    """
    named = os.environ.get("PROCESS") or Process.MANAGE
    try:
        return Process(named)
    except ValueError:
        known = ", ".join(Process)
        raise ImproperlyConfigured(f"PROCESS must be one of {known}, was {named!r}.") from None
