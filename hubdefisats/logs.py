"""The form of a log line: time, level, logger, message, then the fields given as `extra`."""

import json
import logging
import time
from typing import Final

_SAID_TWICE: Final = {"color_message", "data"}
"""What uvicorn and Celery attach says the message again, and more of it."""
_NOT_EXTRA: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", *_SAID_TWICE}


class LineFormatter(logging.Formatter):
    """Keeps an entry on one line; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        extra = ((name, value) for name, value in vars(record).items() if name not in _NOT_EXTRA)
        fields = (f" {name}={_shown(value)}" for name, value in extra)
        return super().formatMessage(record).replace("\n", "\\n") + "".join(fields)


def is_news(record: logging.LogRecord) -> bool:
    """Return False for a health check's 503: it is asked for every few seconds, and answers itself."""
    request = getattr(record, "request", None)
    return not str(getattr(request, "path", "")).startswith("/health/")


def _shown(value: object) -> str:
    text = str(value)
    plain = text and not any(character in '"=\\' or character.isspace() for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
