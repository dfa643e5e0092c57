"""What a person reads in place of a traceback, when it is theirs to set something right."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError


class RefusalError(Exception):
    """What was asked cannot be done; the message is one sentence for whoever asked."""


@contextmanager
def said_in_a_sentence() -> Iterator[None]:
    """End the program with status 1 and a sentence where it cannot do what was asked."""
    try:
        yield
    except RefusalError as error:
        sys.exit(str(error))
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong settings: {error}")
    except OperationalError as error:
        sys.exit(f"The database behind DATABASE_URL cannot be used: {_line(error)}")
    except redis.RedisError as error:
        sys.exit(f"The Redis behind REDIS_URL cannot be used: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
