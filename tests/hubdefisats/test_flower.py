"""Flower on a Redis behind TLS, and on one behind a socket: it sees workers, and counts messages."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from exchange.simulator.certificate import Certificate
from hubdefisats.embedded import free_port
from hubdefisats.stack import programs
from tests.hubdefisats.test_health import _running
from tests.hubdefisats.test_redisaddress import certificate, listener, with_tls
from tests.waiting import wait_until

__all__ = ["certificate", "with_tls"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.full,
    pytest.mark.timeout(120),
]


@contextmanager
def flower(variables: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = (*programs.CELERY, "flower", "--address=127.0.0.1", f"--port={port}")
    with _running(*command, variables=variables | {"FLOWER_BASIC_AUTH": "a:b"}):
        yield f"http://127.0.0.1:{port}"


def said(url: str) -> Any:
    """Return what it answers; None where it does not answer yet."""
    with suppress(requests.RequestException):
        answer = requests.get(url, auth=("a", "b"), timeout=5)
        return answer.json() if answer.ok else None
    return None


def check(services: dict[str, str], url: str) -> None:
    """Let it find a worker by messages, and by a way of its own how many wait in its queue."""
    variables = services | {"REDIS_URL": url}
    urgent = programs.urgent()[0].command
    with flower(variables) as page, _running(*urgent, variables=variables):
        wait_until(
            lambda: said(f"{page}/api/workers?refresh=1"), within_s=40, what="it sees the worker"
        )
        lengths = said(f"{page}/api/queues/length")["active_queues"]
    assert {each["name"]: each["messages"] for each in lengths} == {"urgent": 0}


def test_by_tls_with_a_certificate_that_is_named(
    services: dict[str, str], with_tls: str, certificate: Certificate
) -> None:
    check(services, f"{with_tls}?ssl_ca_certs={certificate.path}")


def test_by_a_socket(services: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "s"))
    with listener(bound, redis_url):
        url = f"unix://:{urlsplit(redis_url).password}@{tmp_path / 's'}?db=3"
        check(services, url)
