"""A real TCP proxy between us and the exchange delays, halves, swallows and resets what passes."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from urllib.parse import urlsplit

import pytest
from pytest_django.fixtures import Settings

from automations import reconciling
from automations.models import Execution
from benchmarks.proxy import Proxy, Way
from exchange.config import Network
from exchange.errors import TransientError
from exchange.simulator.running import Simulator
from tests.automations.acting import check_the_chain, long_ago, move
from tests.automations.conftest import new_account
from tests.exchange.places import endpoints_of
from tests.faults.writes import START, WRITES, Scene, Write

QUICK = [each for each in WRITES if each.name in {"add margin", "close", "open"}]
ACCOUNTS = 12


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator(accounts=ACCOUNTS) as running:
        yield running


@pytest.fixture
def proxy(
    venue: Simulator,
    settings: Settings,
    db: None,  # noqa: ARG001 - for those who use it
    redis_url: str,  # noqa: ARG001 - empty before and after
) -> Iterator[Proxy]:
    """The only way to the exchange, for us."""
    places = endpoints_of(venue)
    far = urlsplit(places.api_url)
    assert far.hostname
    assert far.port
    with Proxy(far.hostname, far.port) as running:
        way = replace(places, api_url=f"http://127.0.0.1:{running.port}")
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: way}
        settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
        yield running


@pytest.mark.parametrize("way", [Way.DELAY, Way.HALVE, Way.RESET])
@pytest.mark.parametrize("direction", ["asks", "answers"])
def test_what_goes_wrong_on_the_way_makes_one_effect_at_most(
    venue: Simulator, proxy: Proxy, direction: str, way: Way
) -> None:
    for number, write in enumerate(QUICK):
        _goes_wrong(venue, proxy, number, write, {direction: way})
    check_the_chain()


def _goes_wrong(
    venue: Simulator, proxy: Proxy, number: int, write: Write, conduct: dict[str, Way]
) -> None:
    """Break the way once what is to be decided on was read; mend it; let all be settled."""
    move(venue, START)
    draws = Random(number)  # noqa: S311 - chance, not a secret
    scene = Scene(venue=venue, account=new_account(venue, number), draws=draws)
    asked = write.arm(scene)
    before = scene.effects(write.path)
    scene.sees()
    proxy.behave(**conduct, delay_s=0.05)
    try:
        asked.look()
    except TransientError:
        pass
    finally:
        proxy.behave()
    assert scene.effects(write.path) - before <= 1
    long_ago()
    reconciling.settle_all()
    asked.look()

    assert scene.effects(write.path) - before == 1
    assert not Execution.objects.unsettled().exists()
