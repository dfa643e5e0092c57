"""The metrics page: what happened to accounts, in the text that Prometheus reads."""

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from accounts.gateway import redis_client
from automations.counting import counts


class _AccountEvents(Collector):
    """Reads the counts when it is asked, for they are kept by other processes."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(
            "hubdefisats_account_events",
            "What happened to an account, such as a fallback of its stream.",
            labels=["event", "account"],
        )
        for (event, account_id), value in sorted(counts(redis_client()).items()):
            family.add_metric([event, str(account_id)], value)
        yield family


def metrics(_request: HttpRequest) -> HttpResponse:
    """Show the counts; 503 while Redis, which keeps them, is away."""
    registry = CollectorRegistry()
    try:
        registry.register(_AccountEvents())
        text = generate_latest(registry)
    except RedisError:
        return HttpResponse("Redis is out of reach.\n", status=503, content_type="text/plain")
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
