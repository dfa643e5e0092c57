"""The servers that come along: real ones, that leave nothing behind."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from hubdefisats import embedded
from hubdefisats import folder as folders
from hubdefisats.embedded import places
from hubdefisats.embedded.process import finished
from tests.waiting import wait_until

_START_AND_WAIT = """
import sys, time, pathlib
from hubdefisats import embedded
with embedded.postgres(pathlib.Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def _ask(url: str, question: str) -> object:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchall() if cursor.description else None


def _postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def test_postgres_stops_with_its_block_and_keeps_what_it_was_told(folder: Path) -> None:
    with embedded.postgres(folder / "pg") as url:
        server = _postmaster(folder / "pg")
        _ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    wait_until(lambda: not folders.is_alive(server), what="the server ends")

    # What a machine that lost its power leaves: files that name processes long gone.
    (folder / "pg" / ".handle_pids.json").write_text(json.dumps([1]))
    (folder / "pg" / "postmaster.pid").write_text("1\n")

    with embedded.postgres(folder / "pg") as url:
        server = _postmaster(folder / "pg")
        assert _ask(url, "SELECT answer FROM kept") == [(42,)]
    assert not folders.is_alive(server)


def test_postgres_of_a_killed_holder_is_taken_over_and_stopped(folder: Path) -> None:
    command = [sys.executable, "-c", _START_AND_WAIT, str(folder / "pg")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        first_url = holder.stdout.readline().strip()
        holder.send_signal(signal.SIGKILL)
    server = _postmaster(folder / "pg")
    assert folders.is_alive(server)

    with embedded.postgres(folder / "pg") as url:
        assert url == first_url
        assert _postmaster(folder / "pg") == server
        assert _ask(url, "SELECT 1") == [(1,)]
    assert not folders.is_alive(server)


def test_neither_the_folders_name_nor_the_shells_words_keep_them_from_starting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = folder / 'it\'s $5 & "so", (50%20); ü'
    for name, value in {
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "xx_XX.UTF-8",
        "XDG_RUNTIME_DIR": "/nowhere",
        "PGDATA": "/nowhere",
        "TZ": "Nowhere/Land",
        "LD_PRELOAD": "/nowhere.so",
    }.items():
        monkeypatch.setenv(name, value)

    said = finished(["/usr/bin/env"]).stdout.split()
    assert sorted(word.partition("=")[0] for word in said) == ["LC_ALL", "PATH"]

    with embedded.postgres(odd / "pg") as url, embedded.redis_server(odd, "one") as redis_url:
        assert _ask(url, "SELECT upper('ü')") == [("Ü",)]
        with redis.Redis.from_url(redis_url) as client:
            assert client.ping()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a PostgreSQL of another user")
def test_root_keeps_its_folders_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ELSEWHERE", folder / "elsewhere")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)

    with embedded.postgres(closed / "pg") as url:
        _ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.postgres(closed / "pg") as url:
        assert _ask(url, "SELECT answer FROM kept") == [(42,)]

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert (closed / "pg").resolve().is_relative_to(folder / "elsewhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a PostgreSQL of another user")
def test_what_was_open_when_it_was_made_is_moved_with_all_that_is_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "ELSEWHERE", folder / "elsewhere")
    (folder / "data").mkdir()
    with embedded.postgres(folder / "data" / "pg") as url:
        _ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not (folder / "data" / "pg").is_symlink()

    (folder / "data").chmod(0o700)

    with embedded.postgres(folder / "data" / "pg") as url:
        assert _ask(url, "SELECT answer FROM kept") == [(42,)]
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


def test_a_cluster_whose_making_was_cut_off_is_made_anew(folder: Path) -> None:
    (folder / "pg.new").mkdir()
    (folder / "pg.new" / "PG_VERSION").write_text("18\n")

    with embedded.postgres(folder / "pg") as url:
        assert _ask(url, "SELECT 1") == [(1,)]


def test_postgres_that_cannot_start_says_where_to_look(folder: Path) -> None:
    (folder / "pg").mkdir()
    (folder / "pg" / "in the way").touch()

    with (
        pytest.raises(embedded.EmbeddedServiceError, match="PostgreSQL does not start"),
        embedded.postgres(folder / "pg"),
    ):
        pass


def test_redis_needs_its_password_and_shows_it_to_nobody(folder: Path) -> None:
    with embedded.redis_server(folder, "hunter2") as url, redis.Redis.from_url(url) as client:
        server = psutil.Process(client.info()["process_id"])
        assert "hunter2" not in " ".join(server.cmdline())
        with (
            redis.Redis.from_url(url.replace("hunter2", "wrong")) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()

    assert not folders.is_alive(server)
    assert not list(folder.glob("*.rdb"))


def test_two_redis_run_beside_each_other(folder: Path) -> None:
    with (
        embedded.redis_server(folder / "a", "one") as first,
        embedded.redis_server(folder / "b", "two") as second,
        redis.Redis.from_url(first) as here,
        redis.Redis.from_url(second) as there,
    ):
        here.set("key", "value")

        assert there.get("key") is None


def test_redis_of_a_killed_holder_is_among_the_leftovers_of_its_folder(folder: Path) -> None:
    with embedded.redis_server(folder, "one") as url, redis.Redis.from_url(url) as client:
        server = psutil.Process(client.info()["process_id"])

        assert folders.end_leftovers(folder) == 1
        wait_until(lambda: not folders.is_alive(server), what="the server ends")


def test_redis_that_cannot_start_says_where_to_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = folder / "redis-server"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    with (
        pytest.raises(
            embedded.EmbeddedServiceError, match=r"Redis does not start; its log is .*redis\.log"
        ),
        embedded.redis_server(folder / "data", "one"),
    ):
        pass
