"""The limits that the exchange tells, and the time that it asks to wait, by real sockets."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from exchange.config import PRIVATE_RATE, PUBLIC_RATE
from exchange.errors import TransientError
from exchange.failures import told_per_s
from exchange.ratelimit import LocalLimiter, Scope
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Limits
from exchange.simulator.windows import Rate
from tests.exchange.places import endpoints_of
from tests.exchange.unlimited import Unlimited

ACCOUNT = "/v3/account"


def client_of(venue: Simulator, limiter: LocalLimiter | Unlimited) -> RestClient:
    credentials = venue.accounts[0].credentials
    return RestClient(endpoints_of(venue), credentials, limiter=limiter, server_clock=ServerClock())


@pytest.mark.parametrize(
    ("policy", "per_s"),
    [
        pytest.param('"private";q=5;w=1', 5.0, id="as the paper exchange says it"),
        pytest.param('"burst";q=40;w=2', 20.0, id="with a burst"),
        pytest.param('"a";q=100;w=10, "b";q=60;w=60;pk=:a2V5:', 1.0, id="the narrowest of two"),
        pytest.param('"a"; w=10; q=20', 2.0, id="another order"),
        pytest.param('"a";q=0;w=1', None, id="nothing at all is allowed: a mistake"),
        pytest.param('"a";q=1;w=86400', 0.1, id="once a day: a mistake as well"),
        pytest.param('"a";q=-5;w=1', None, id="less than nothing"),
        pytest.param("5;window=1", None, id="another language"),
        pytest.param("", None, id="no word"),
    ],
)
def test_a_policy_is_read_as_requests_a_second(policy: str, per_s: float | None) -> None:
    assert told_per_s({"RateLimit-Policy": policy}) == per_s


class Counted(LocalLimiter):
    """Counts how often the exchange refused for its limit."""

    refused = 0

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        self.refused += 1
        super().hold(scope, owner, after_s=after_s)


def test_a_client_with_a_larger_budget_paces_itself_by_the_limit_that_the_exchange_tells() -> None:
    limits = Limits(private_rest=Rate(most=2, window_s=1))
    limiter = Counted({Scope.PRIVATE: PRIVATE_RATE, Scope.PUBLIC: PUBLIC_RATE})
    with Simulator(limits=limits, accounts=1) as venue:
        client = client_of(venue, limiter)
        begun = time.monotonic()
        for _ in range(7):
            client.account()

    assert limiter.refused <= 1, "what was paced before the first answer came"
    assert time.monotonic() - begun > 3.0, "1.6 a second, for a fifth is kept for protective calls"


@pytest.mark.parametrize("burst", [None, 10])
def test_the_paper_exchange_tells_its_rate_with_and_without_a_burst(burst: int | None) -> None:
    limits = Limits(private_rest=Rate(most=5, window_s=1, burst=burst))
    with Simulator(limits=limits, accounts=1) as venue:
        unlimited = Unlimited()
        client = client_of(venue, unlimited)
        for _ in range(burst or 5):
            client.account()
        with pytest.raises(TransientError, match="429"):
            client.close("p1")  # type: ignore[arg-type]  # an id is a text
    assert (Scope.PRIVATE, 5.0) in unlimited.heeded


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_paper_exchange_asks_to_wait_in_either_form(form: str) -> None:
    asked = "42"
    if form == "date":
        asked = format_datetime(datetime.now(UTC) + timedelta(seconds=42), usegmt=True)
    with Simulator(accounts=1) as venue:
        venue.fault("status", status=429, path=ACCOUNT, retry_after=asked)
        unlimited = Unlimited()
        with pytest.raises(TransientError) as refused:
            client_of(venue, unlimited).account()

    assert refused.value.after_s == pytest.approx(42, abs=2)
    assert unlimited.held == [(Scope.PRIVATE, refused.value.after_s)]
