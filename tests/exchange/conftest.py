"""The paper exchange for tests: price by hand, no limits, orders at exactly the last price."""

from collections.abc import Iterator

import pytest

from exchange.simulator.running import Simulator


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
