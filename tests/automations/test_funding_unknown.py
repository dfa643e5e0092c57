"""A funding total that cannot be read is unknown, and not 0."""

import pytest

from accounts.models import Account
from automations import known_positions, reconciling
from automations.known_positions import Reading
from automations.models import GuardStep, KnownPosition, MarginGuard
from automations.reading import read_all
from exchange.client import Client
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, events, long_ago, look, move, states

pytestmark = pytest.mark.usefixtures("chain")

RUNNING = "/v3/futures/isolated/trades/running"


def reading(client: Client, account: Account) -> Reading:
    return Reading(account_id=account.pk, snapshot=read_all(client), regimes=frozenset(Regime))


@pytest.mark.parametrize("value", [None, "text", 1.5, []])
def test_a_funding_total_that_cannot_be_read_is_not_0(
    venue: Simulator, client: Client, account: Account, *, long: Position, value: object
) -> None:
    """100 sats paid and then not told are neither paid back nor paid again."""
    venue.settle_funding("0.0001")
    known_positions.write_down([reading(client, account)])
    venue.fault("odd", path=RUNNING, field="sumFundingFees", value=value, next=1)

    for _ in range(2):
        known_positions.write_down([reading(client, account)])

    assert KnownPosition.objects.get().funding_fees == 100
    assert "funding_paid" not in events()
    assert client.rest.positions().positions[0].id == long.id


def test_a_top_up_is_not_judged_while_funding_cannot_be_read(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """Funding of as much as was added would pass for a top-up that did not happen."""
    GuardStep.objects.update(amount_sats=105)
    move(venue, 95_000)
    client.positions(5)  # the decision knows the total
    venue.fault("lost_answer", path=ADD_MARGIN)
    venue.fault("odd", path=RUNNING, field="sumFundingFees", value=None)
    assert look(guard, long) == "unknown"
    venue.settle_funding("0.0001")
    long_ago()
    assert client.rest.positions().positions[0].margin == 100_000, "as before"

    assert reconciling.settle_all() == []
    assert states() == ["unknown"]
    venue.clear_faults()
    reconciling.settle_all()

    assert states() == ["confirmed"]
