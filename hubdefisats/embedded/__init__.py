"""A real PostgreSQL and a real Redis for machines without, each living as long as its `with`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hubdefisats.embedded.postgresql import DATABASE, Postgres
from hubdefisats.embedded.process import EmbeddedServiceError, Server, ServerProcess, words_of
from hubdefisats.embedded.redis import Redis, free_port

__all__ = [
    "DATABASE",
    "EmbeddedServiceError",
    "Postgres",
    "Redis",
    "Server",
    "ServerProcess",
    "first_start",
    "free_port",
    "postgres",
    "redis_server",
]

_STARTS_WITHIN_S: Final = 60.0
_STOPS_WITHIN_S: Final = 20.0
_ATTEMPTS: Final = 3
"""A port may be taken between finding and using it; what a killed server shared may linger."""
_BEAT_S: Final = 0.02


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL on a Unix socket, its cluster in `folder`; yield the URL of its database.

    Raises:
        EmbeddedServiceError: it cannot start here.
    """
    server = Postgres(folder)
    with _running(server):
        server.create_database()
        yield server.url


@contextmanager
def redis_server(folder: Path, password: str) -> Iterator[str]:
    """Run Redis on a free loopback port, keeping nothing on disk; yield its URL.

    Raises:
        EmbeddedServiceError: there is no program to run, or it does not answer.
    """
    server = Redis(folder, password)
    with _running(server):
        yield server.url


def first_start(server: Server, pause: Callable[[float], None] = time.sleep) -> ServerProcess:
    """Start a server and wait until it answers, with `pause`, which may raise.

    Raises:
        EmbeddedServiceError: it cannot start here.
    """
    why = "it does not answer"
    for _ in range(_ATTEMPTS):
        server.prepare()
        try:
            process = server.start()
        except OSError as error:
            raise server.refusal(words_of(error)) from error
        try:
            if _answers(server, process, pause):
                return process
            why = process.why() or process.ending() or why
        except BaseException:
            process.end_within(0)
            raise
        process.end_within(0)
    raise server.refusal(why)


def _answers(server: Server, process: ServerProcess, pause: Callable[[float], None]) -> bool:
    """Return whether the server answers before it ends or the time is up."""
    end = time.monotonic() + _STARTS_WITHIN_S
    while process.ending() is None and time.monotonic() < end:
        if server.is_ready():
            return True
        pause(_BEAT_S)
    return False


@contextmanager
def _running(server: Server) -> Iterator[None]:
    process = first_start(server)
    try:
        yield
    finally:
        process.ask_to_end()
        process.end_within(_STOPS_WITHIN_S)
        server.forget()
