"""What every test can use: Django on a real PostgreSQL and a real Redis, started once a run."""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import django
import hypothesis
import psycopg2
import pytest
import redis
from django.db import connection

from hubdefisats import embedded, local, surroundings
from hubdefisats import folder as folders

# How long an example takes says how busy the machine is, and nothing about what it tries.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

_services = ExitStack()
atexit.register(_services.close)


@pytest.fixture
def services(
    transactional_db: None,  # noqa: ARG001 - asked for its effect
    redis_url: str,
) -> dict[str, str]:
    """The variables with which a process of ours uses this test's database and Redis."""
    database = urlsplit(os.environ["DATABASE_URL"])
    name = connection.settings_dict["NAME"]
    return os.environ | {
        "DATABASE_URL": database._replace(path=f"/{name}").geturl(),
        "REDIS_URL": redis_url,
    }


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty database of Redis for one test."""
    url = os.environ["REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


def _start_services() -> None:
    surroundings.tidy()
    folder = _services.enter_context(folders.temporary("hubdefisats-tests-"))
    made_up = local.new_secrets()
    os.environ["HUBDEFISATS_DATA"] = str(folder)
    os.environ["SECRET_KEY"] = made_up["SECRET_KEY"]
    for name in ("SEAL_PUBLIC_KEYS", "SEAL_PRIVATE_KEYS"):
        os.environ[name] = made_up[name]
    # A busy machine lets Redis wait for its turn; tests of its absence need no patience.
    os.environ["REDIS_PATIENCE_MS"] = "5000"
    os.environ["STREAM_ROUND_MS"] = "100"
    if "DATABASE_URL" not in os.environ:
        url = _services.enter_context(embedded.postgres(folder / "postgres"))
        _never_wait_for_the_disk(url)
        os.environ["DATABASE_URL"] = url
    if "REDIS_URL" not in os.environ:
        os.environ["REDIS_URL"] = _services.enter_context(
            embedded.redis_server(folder, made_up["REDIS_PASSWORD"])
        )


def _never_wait_for_the_disk(url: str) -> None:
    """Give up safety against power cuts, which tests do not need, for speed."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            cursor.execute(f"ALTER SYSTEM SET {setting} = off")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


def _set_django_up() -> None:
    """Start the services and set Django up on them; a worker of xdist uses its controller's."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        _start_services()
    else:
        # Databases of PostgreSQL are told apart by pytest-django, those of Redis here.
        url = urlsplit(os.environ["REDIS_URL"])
        number = 1 + int(worker.removeprefix("gw"))
        os.environ["REDIS_URL"] = url._replace(path=f"/{number}").geturl()
    os.environ["DJANGO_SETTINGS_MODULE"] = "hubdefisats.settings"
    django.setup()
    # Workers start from this environment, and must choose their database before they read settings.
    del os.environ["DJANGO_SETTINGS_MODULE"]


# At import rather than in a hook: the conftests below this one import models.
_set_django_up()
