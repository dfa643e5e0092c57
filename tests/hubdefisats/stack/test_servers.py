"""PostgreSQL and Redis of a stack come back, and people are told in one line."""

import io
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis

from hubdefisats.stack.disk import Disk
from hubdefisats.stack.servers import Servers
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal
from tests.waiting import wait_until


class _Clock:
    """Real time, which can be moved on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@contextmanager
def _started(servers: Servers) -> Iterator[Mapping[str, str]]:
    try:
        yield servers.start("hunter2", StopRequest())
    finally:
        servers.stop()


@pytest.fixture
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name)
    return monkeypatch


def _ask(url: str, statement: str = "SELECT 1") -> bool:
    try:
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return True
    except psycopg2.DatabaseError:
        return False


def _pings(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def _tended(servers: Servers, works: Callable[[], bool]) -> Callable[[], bool]:
    def tend() -> bool:
        servers.tend()
        return works()

    return tend


def _lines(out: io.StringIO, *words: str) -> list[str]:
    return [line for line in out.getvalue().splitlines() if all(word in line for word in words)]


@pytest.mark.usefixtures("nothing_named")
def test_killed_servers_come_back_at_the_same_addresses(
    folder: Path, out: io.StringIO, clock: _Clock
) -> None:
    servers = Servers(folder, Terminal(out), clock=clock)
    with _started(servers) as urls:
        assert _ask(urls["DATABASE_URL"], "CREATE TABLE kept AS SELECT 42")
        for name in ("postgres", "redis"):
            os.kill(servers.pids()[name], signal.SIGKILL)
        wait_until(_tended(servers, lambda: not servers.pids()), what="both ends are noticed")
        clock.ahead_s += 1

        wait_until(_tended(servers, lambda: _pings(urls["REDIS_URL"])), what="Redis answers")
        wait_until(
            _tended(servers, lambda: _ask(urls["DATABASE_URL"], "SELECT * FROM kept")),
            within_s=20,
            what="PostgreSQL answers, with what it was told",
        )

    assert len(_lines(out, "redis was killed by SIGKILL; it starts again in 1 s")) == 1
    assert len(_lines(out, "postgres was killed by SIGKILL; it starts again in 1 s")) == 1


def test_a_server_that_does_not_come_back_is_told_with_what_to_do(
    folder: Path, out: io.StringIO, clock: _Clock, nothing_named: pytest.MonkeyPatch
) -> None:
    nothing_named.setenv("DATABASE_URL", "postgresql://somebody/else")
    servers = Servers(folder, Terminal(out), clock=clock)
    with _started(servers) as urls, closing(socket.socket()) as rival:
        os.kill(servers.pids()["redis"], signal.SIGKILL)
        wait_until(_tended(servers, lambda: not servers.pids()), what="the end is noticed")
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", urlsplit(urls["REDIS_URL"]).port))
        rival.listen()

        for wait_s in (1, 2):
            clock.ahead_s += wait_s
            wait_until(_tended(servers, lambda: bool(servers.pids())), what="it is tried")
            wait_until(_tended(servers, lambda: not servers.pids()), what="it failed again")

        (line,) = _lines(out, "it starts again in 4 s")
        assert "Failed listening on port" in line
        assert str(folder / "redis.log") in line
        assert not _lines(out, "it starts again in 2 s", "redis.log"), "the second end may be chance"

        rival.close()
        clock.ahead_s += 4
        wait_until(_tended(servers, lambda: _pings(urls["REDIS_URL"])), what="Redis answers")


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "none", str(disk)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a disk that can be filled needs the right to mount one")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - the one beside mount


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1_000_000))
        except OSError:
            return filler


@pytest.mark.usefixtures("nothing_named")
def test_a_full_disk_is_told_once_a_minute_and_all_goes_on_when_it_has_room(
    folder: Path, out: io.StringIO, clock: _Clock
) -> None:
    with _small_disk(folder, "128m") as disk:
        servers = Servers(disk, Terminal(out), clock=clock)
        with _started(servers) as urls:
            url = urls["DATABASE_URL"]
            filler = _fill(disk)
            assert not _ask(
                url, "CREATE TABLE big AS SELECT repeat('x', 100) FROM generate_series(1,1e6)"
            )
            os.kill(servers.pids()["postgres"], signal.SIGKILL)
            wait_until(_tended(servers, lambda: len(_lines(out, "is full")) == 1), what="it is told")
            wait_until(_tended(servers, lambda: "postgres" not in servers.pids()), what="it is noticed")
            for _ in range(8):  # whatever it does meanwhile, it is not told again and again
                clock.ahead_s += 7
                servers.tend()
            assert len(out.getvalue().splitlines()) == len(_lines(out, "starting")) + 1

            clock.ahead_s += 5
            wait_until(
                _tended(servers, lambda: len(_lines(out, "is full")) == 2), what="a minute later"
            )

            filler.unlink()
            clock.ahead_s += 1
            wait_until(_tended(servers, lambda: _ask(url)), within_s=20, what="PostgreSQL answers")
            assert len(_lines(out, "has room again")) == 1


def test_a_disk_with_room_is_not_mentioned(folder: Path, out: io.StringIO) -> None:
    disk = Disk(folder, Terminal(out))

    assert not disk.tend()
    assert out.getvalue() == ""
