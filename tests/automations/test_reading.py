"""What a decision sees where the exchange takes long to answer, as it does in a crash."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from automations.reading import read, read_all
from exchange.client import Client
from exchange.errors import TransientError
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import move, open_cross

pytestmark = pytest.mark.django_db

READING = {
    Regime.ISOLATED: "/v3/futures/isolated/trades/running",
    Regime.CROSS: "/v3/futures/cross/position",
}


@pytest.fixture(params=Regime)
def regime(request: pytest.FixtureRequest, client: Client, long: Position) -> Regime:  # noqa: ARG001
    open_cross(client)
    return Regime(request.param)


@pytest.fixture
def slow(venue: Simulator, regime: Regime, settings: Settings) -> None:
    """Positions take longer to be read than anything may be old."""
    settings.DATA_MAX_AGE_S = 1
    move(venue, 95_000)
    venue.fault("late_answer", path=READING[regime], ms=1_100, next=9)


@pytest.mark.usefixtures("slow")
def test_positions_that_took_longer_than_the_price_may_be_old_are_enough_where_asked_for(
    client: Client, regime: Regime
) -> None:
    seen = read(client, regime, positions_max_age_s=30)

    assert seen.positions is not None
    assert [each.regime for each in seen.positions.positions] == [regime]
    assert seen.quote.at > timezone.now() - timedelta(seconds=1), "the price is live all the same"


@pytest.mark.usefixtures("slow")
def test_they_are_not_enough_by_default(client: Client, regime: Regime) -> None:
    with pytest.raises(TransientError, match="longer to answer than the 1 s"):
        read(client, regime)


@pytest.mark.usefixtures("slow")
def test_whoever_arms_triggers_takes_them_however_long_they_took(client: Client) -> None:
    assert len(read_all(client).positions) == 2
