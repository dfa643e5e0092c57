"""The settings as the tests themselves run on them."""

import os
import subprocess
import sys

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection


@pytest.mark.django_db
def test_the_record_is_a_real_postgresql() -> None:
    User.objects.create(username="alice")

    assert connection.vendor == "postgresql"
    assert User.objects.count() == 1


def test_redis_answers_at_the_url_of_the_settings(redis_url: str) -> None:
    assert redis_url == settings.REDIS_URL
    assert redis.Redis.from_url(redis_url).ping()


_SAY = """
from hubdefisats.celery import app
from django.conf import settings
print(app.connection_for_write().as_uri(include_password=True))
print(app.conf.result_backend, app.conf.broker_read_url == app.conf.broker_url)
import os; print(sorted(name for name in os.environ if name.startswith(("CELERY", "FLOWER"))))
print(os.environ.get("SSL_CERT_FILE"))
"""


def test_variables_of_another_project_change_nothing(redis_url: str) -> None:
    foreign = {
        "CELERY_BROKER_URL": "redis://elsewhere.invalid",
        "CELERY_BROKER_READ_URL": "redis://elsewhere.invalid",
        "CELERY_BROKER_WRITE_URL": "redis://elsewhere.invalid",
        "CELERY_RESULT_BACKEND": "redis://elsewhere.invalid",
        "CELERY_LOADER": "no.such",
        "FLOWER_URL_PREFIX": "elsewhere",
        "FLOWER_NO_SUCH_OPTION": "1",
        "FLOWER_BASIC_AUTH": "ann:pw",
    }

    said = subprocess.run(
        (sys.executable, "-c", _SAY),
        env=os.environ | foreign | {"DJANGO_SETTINGS_MODULE": "hubdefisats.settings"},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    ).stdout.splitlines()

    assert said == [
        redis_url,
        "None True",
        "['FLOWER_BASIC_AUTH']",
        str(os.environ.get("SSL_CERT_FILE")),
    ]


@pytest.mark.parametrize("command", ["inspect", "flower"])
def test_nor_do_those_of_its_command_line(redis_url: str, command: str) -> None:
    """Celery's commands take their options from the environment, too."""
    arguments = {"inspect": ("inspect", "--timeout", "0.2", "ping"), "flower": ("flower", "--help")}
    foreign = {"BROKER_URL": "redis://127.0.0.1:1", "FLOWER_NO_SUCH_OPTION": "1"}

    done = subprocess.run(
        (sys.executable, "-m", "celery", "-A", "hubdefisats", *arguments[command]),
        env=os.environ | foreign | {"REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert "127.0.0.1:1" not in done.stderr
    assert ("No nodes replied" in done.stdout + done.stderr) is (command == "inspect")
