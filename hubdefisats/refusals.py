"""What a person reads in place of a traceback, when it is theirs to set something right."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.core.exceptions import ImproperlyConfigured
from kombu.exceptions import KombuError

from automations.outages import DATABASE_ERRORS, database_is_away, line


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
    except DATABASE_ERRORS as error:
        if not database_is_away(error):
            raise
        sys.exit(f"The database behind DATABASE_URL cannot be used: {line(error)}")
    except (redis.RedisError, KombuError) as error:
        sys.exit(f"The Redis behind REDIS_URL cannot be used: {line(error)}")
