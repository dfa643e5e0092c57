"""A log line and its fields."""

import logging

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from redis.exceptions import OutOfMemoryError

from hubdefisats.logs import LineFormatter, is_news


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        pytest.param({}, "", id="no fields"),
        pytest.param({"account": 7, "by": "alice"}, " account=7 by=alice", id="plain values"),
        pytest.param({"why": "too old"}, ' why="too old"', id="blanks are quoted"),
        pytest.param({"why": 'a="b"'}, ' why="a=\\"b\\""', id="so are signs of the form"),
        pytest.param({"why": ""}, ' why=""', id="nothing is shown as nothing"),
        pytest.param({"why": "a\nb"}, ' why="a\\nb"', id="a field cannot forge a line"),
    ],
)
def test_a_line_shows_its_fields(extra: dict[str, object], shown: str) -> None:
    record = logging.makeLogRecord(
        {"name": "stream", "levelname": "INFO", "msg": "session %s", "args": ("live",), "created": 0.25}
        | {"msecs": 250.0}
        | extra
    )

    assert LineFormatter().format(record) == f"1970-01-01T00:00:00.250Z INFO stream session live{shown}"


def test_a_message_cannot_forge_a_line() -> None:
    record = logging.makeLogRecord({"msg": "one\ntwo"})

    assert LineFormatter().format(record).endswith("one\\ntwo")


def test_a_traceback_follows_the_line() -> None:
    with pytest.raises(ValueError, match="invalid literal") as failed:
        int("x")
    exc_info = (failed.type, failed.value, failed.tb)
    record = logging.makeLogRecord({"msg": "failed", "exc_info": exc_info, "account": 7})

    first, *rest = LineFormatter().format(record).splitlines()

    assert first.endswith("failed account=7")
    assert rest[-1].startswith("ValueError")


@pytest.mark.parametrize(
    ("outage", "why"),
    [
        pytest.param(
            OperationalError("server closed\n\tthe connection"), "server closed the connection"
        ),
        pytest.param(OutOfMemoryError("command not allowed"), "command not allowed"),
        pytest.param(ConnectionRefusedError(111, "refused"), "[Errno 111] refused"),
    ],
)
def test_that_of_an_outage_does_not(outage: Exception, why: str) -> None:
    exc_info = (type(outage), outage, None)
    said = ("Message Error: %s\n%s", (outage, "where it was"))
    record = logging.makeLogRecord({"msg": said[0], "args": said[1], "exc_info": exc_info})

    assert LineFormatter().format(record).endswith(f' why="{why}"')
    assert "where it was" not in LineFormatter().format(record)
    assert "\n" not in LineFormatter().format(record)


@pytest.mark.parametrize(
    ("path", "news"),
    [
        pytest.param("/health/ready", False, id="asked again and again"),
        pytest.param("/admin/", True, id="a page that failed"),
        pytest.param(None, True, id="no request at all"),
    ],
)
def test_an_unready_answer_to_a_health_check_is_no_news(path: str | None, news: bool) -> None:
    request = {"request": RequestFactory().get(path)} if path else {}

    assert is_news(logging.makeLogRecord(request)) is news
