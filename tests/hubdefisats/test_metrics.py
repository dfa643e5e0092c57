"""The metrics page, read as Prometheus reads it."""

import pytest
from django.test import Client as Browser
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from accounts import gateway
from automations import counting


@pytest.mark.usefixtures("redis_url")
def test_events_are_counted_by_account() -> None:
    for event, account_id in [
        ("fallback_activated", 7),
        ("fallback_activated", 7),
        ("stream_recovered", 8),
    ]:
        counting.count(gateway.redis_client(), event, account_id)

    page = Browser().get("/metrics")

    assert page.status_code == 200
    (family,) = text_string_to_metric_families(page.content.decode())
    assert {(each.labels["event"], each.labels["account"]): each.value for each in family.samples} == {
        ("fallback_activated", "7"): 2,
        ("stream_recovered", "8"): 1,
    }


def test_without_redis_it_says_so(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    gateway.redis_client.cache_clear()
    try:
        page = Browser().get("/metrics")
        counting.count(gateway.redis_client(), "fallback_activated", 7)
    finally:
        gateway.redis_client.cache_clear()

    assert page.status_code == 503
    assert page.content == b"Redis is out of reach.\n"
