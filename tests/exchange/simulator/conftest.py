"""Plain clients of the test's own paper exchange."""

from collections.abc import Iterator

import pytest

from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest, Stream


@pytest.fixture
def rest(venue: Simulator) -> Rest:
    return Rest(venue.rest, venue.accounts[0].credentials)


@pytest.fixture
def stream(venue: Simulator) -> Iterator[Stream]:
    with Stream(venue.stream) as connection:
        yield connection
