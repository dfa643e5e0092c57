"""REDIS_URL: one meaning for redis-py, for kombu behind Celery, and for Flower."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection
from kombu.exceptions import OperationalError

from exchange.simulator.certificate import Certificate
from hubdefisats.env import Environment
from hubdefisats.redisaddress import RedisAddress, redis_address


def read(url: str) -> RedisAddress:
    return redis_address(Environment({"REDIS_URL": url}))


def reached_by_redis(address: RedisAddress) -> int:
    """Return the database in which redis-py is."""
    with redis.Redis.from_url(address.url, socket_timeout=5) as client:
        return int(client.client_info()["db"])


def reached_by_kombu(address: RedisAddress) -> int:
    """Return the database in which Celery's messages go."""
    with Connection(address.broker_url, ssl=address.broker_tls or False) as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        channel: Any = connection.default_channel
        return int(channel.client.client_info()["db"])


def refused_by(reached: Callable[[RedisAddress], int], address: RedisAddress) -> str:
    with pytest.raises((redis.ConnectionError, OperationalError)) as refused:
        reached(address)
    return str(refused.value)


BOTH = pytest.mark.parametrize("reached", [reached_by_redis, reached_by_kombu])


@BOTH
@pytest.mark.parametrize(
    ("said", "number"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("/3", 3, id="in the path"),
        pytest.param("?db=4", 4, id="in the query"),
        pytest.param("/5?db=5&protocol=3", 5, id="in both, and a protocol"),
        pytest.param("/6?protocol=2", 6, id="another protocol"),
    ],
)
def test_all_are_in_the_same_database(
    redis_url: str, said: str, number: int, reached: Callable[[RedisAddress], int]
) -> None:
    url = urlsplit(redis_url)

    assert reached(read(f"{url.scheme}://{url.netloc}{said}")) == number


def passing_on(listening: socket.socket, redis_url: str, tls: ssl.SSLContext | None) -> None:
    """Pass all that comes on to the real Redis, and its answers back, until the listener is closed."""
    url = urlsplit(redis_url)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        with (
            suppress(OSError),
            tls.wrap_socket(raw, server_side=True) if tls else raw as near,
            socket.create_connection((url.hostname, url.port)) as far,
        ):
            back = threading.Thread(target=copy, args=(far, near), daemon=True)
            back.start()
            copy(near, far)
            back.join(5)

    with suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


@contextmanager
def listener(bound: socket.socket, redis_url: str, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    bound.listen()
    thread = threading.Thread(target=passing_on, args=(bound, redis_url, tls), daemon=True)
    thread.start()
    try:
        yield
    finally:
        bound.shutdown(socket.SHUT_RDWR)
        bound.close()
        thread.join(5)


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    certificate = Certificate("redis.example")
    yield certificate
    certificate.remove()


@pytest.fixture
def with_tls(redis_url: str, certificate: Certificate) -> Iterator[str]:
    """The URL of the same Redis behind TLS, without parameters."""
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    with listener(bound, redis_url, certificate.context()):
        yield f"rediss://:{urlsplit(redis_url).password}@127.0.0.1:{port}/2"


@BOTH
def test_a_certificate_that_nobody_knows_is_refused(
    with_tls: str, reached: Callable[[RedisAddress], int]
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in refused_by(reached, read(with_tls))


@BOTH
@pytest.mark.parametrize("check", ["", "&ssl_cert_reqs=required", "&ssl_cert_reqs=CERT_REQUIRED"])
def test_one_that_is_named_is_believed(
    with_tls: str, certificate: Certificate, check: str, reached: Callable[[RedisAddress], int]
) -> None:
    assert reached(read(f"{with_tls}?ssl_ca_certs={certificate.path}{check}")) == 2


@BOTH
@pytest.mark.parametrize("checked", [True, False])
def test_it_must_be_for_this_host_unless_said_otherwise(
    redis_url: str, reached: Callable[[RedisAddress], int], *, checked: bool
) -> None:
    other = Certificate("redis.example")
    bound = socket.create_server(("127.0.0.2", 0))
    where = f"127.0.0.2:{bound.getsockname()[1]}"
    with listener(bound, redis_url, other.context()):
        url = f"rediss://:{urlsplit(redis_url).password}@{where}/2?ssl_ca_certs={other.path}"
        if checked:
            assert "not valid for '127.0.0.2'" in refused_by(reached, read(url))
        else:
            assert reached(read(f"{url}&ssl_check_hostname=false")) == 2
    other.remove()


@BOTH
@pytest.mark.parametrize("word", ["none", "CERT_NONE"])
def test_in_words_it_is_not_checked(
    with_tls: str, word: str, reached: Callable[[RedisAddress], int]
) -> None:
    assert reached(read(f"{with_tls}?ssl_cert_reqs={word}")) == 2


@BOTH
def test_a_socket_is_reached(
    redis_url: str, tmp_path: Path, reached: Callable[[RedisAddress], int]
) -> None:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "s"))
    with listener(bound, redis_url):
        url = f"unix://:{urlsplit(redis_url).password}@{tmp_path / 's'}?db=3"
        assert reached(read(url)) == 3


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("hunter2", "must be a URL like", id="no URL"),
        pytest.param("http://:hunter2@host", "must be a URL like", id="another scheme"),
        pytest.param("redis://:hunter2@host:0", "must be a URL like", id="no port"),
        pytest.param("redis://:hunter2@host:hunter2", "must be a URL like", id="port is no number"),
        pytest.param("redis://", "must be a URL like", id="nowhere"),
        pytest.param("unix://:hunter2@", "must be a URL like", id="no socket"),
        pytest.param("redis://:hunter2@host/1?db=2", "must be one whole number", id="two databases"),
        pytest.param("redis://:hunter2@host/hunter2", "must be one whole number", id="no number"),
        pytest.param("redis://host?socket_timeout=1", "has socket_timeout; it may", id="set by us"),
        pytest.param("redis://host?protocol=4", "protocol must be 2 or 3", id="no such protocol"),
        pytest.param("redis://host?ssl_cert_reqs=none", "must begin with rediss://", id="no TLS"),
        pytest.param("rediss://host?ssl_cert_reqs=maybe", "must be one of required", id="no word"),
        pytest.param(
            "rediss://host?ssl_ca_certs=/no/such", "ssl_ca_certs cannot be read", id="no file"
        ),
    ],
)
def test_what_would_be_passed_over_is_refused_without_being_shown(url: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says) as refused:
        read(url)

    assert "hunter2" not in str(refused.value)
