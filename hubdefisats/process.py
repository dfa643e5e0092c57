"""Which of the platform's processes this one is: whoever starts it says so in `PROCESS`."""

import os
from enum import StrEnum

from django.core.exceptions import ImproperlyConfigured


class Process(StrEnum):
    """A kind of process; each is given the secrets of its own work alone."""

    WEB = "web"
    WORKER = "worker"
    URGENT = "urgent"
    STREAM = "stream"
    BEAT = "beat"
    FLOWER = "flower"
    MANAGE = "manage"
    """A command that a person gives, and whatever else nobody named."""


def current() -> Process:
    """Return the kind of this process. Raises ImproperlyConfigured where `PROCESS` names none."""
    said = os.environ.get("PROCESS") or Process.MANAGE
    try:
        return Process(said)
    except ValueError:
        raise ImproperlyConfigured(
            f"PROCESS must be one of {', '.join(Process)}, was {said!r}."
        ) from None
