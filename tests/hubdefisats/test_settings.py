"""The settings as the tests themselves run on them."""

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
