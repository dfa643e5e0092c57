"""The form of a log line: time, level, logger, message, then the fields given as `extra`."""

import json
import logging
import time
from typing import Final

from automations import outages

_SAID_TWICE: Final = {"color_message", "data"}
"""What uvicorn and Celery attach says the message again, and more of it."""
_NOT_EXTRA: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", *_SAID_TWICE}


class LineFormatter(logging.Formatter):
    """Keeps an entry on one line; a traceback follows on lines of its own, unless it is an outage's."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return super().format(_without_its_traceback(record) if _is_outage(record) else record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        extra = ((name, value) for name, value in vars(record).items() if name not in _NOT_EXTRA)
        fields = (f" {name}={_shown(value)}" for name, value in extra)
        return super().formatMessage(record).replace("\n", "\\n") + "".join(fields)


def is_news(record: logging.LogRecord) -> bool:
    """Return False for a health check's 503: it is asked for every few seconds, and answers itself."""
    request = getattr(record, "request", None)
    return not str(getattr(request, "path", "")).startswith("/health/")


def _is_outage(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is not None and outages.is_outage(error)


def _without_its_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Say what is away, not where we were: libraries do so, dozens of lines for each attempt."""
    assert record.exc_info
    assert record.exc_info[1]
    said, why = record.getMessage().partition("\n")[0], outages.line(record.exc_info[1])
    plain: dict[str, object] = {"msg": said, "args": None, "exc_info": None, "stack_info": None}
    return logging.makeLogRecord({**vars(record), **plain, "exc_text": None, "why": why})


def _shown(value: object) -> str:
    text = str(value)
    plain = text and not any(character in '"=\\' or character.isspace() for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
