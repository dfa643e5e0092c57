"""A close of ours without an answer, and a position that is gone: it may have ended otherwise."""

from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import Account
from automations import closings, known_positions, reconciling
from automations.known_positions import Reading
from automations.models import Execution, GuardStep, MarginGuard
from automations.reading import read_all
from benchmarks.soak import summing
from benchmarks.soak.people import Person
from exchange.client import Client
from exchange.money import UsdPerBtc
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    CLOSE,
    CROSS_CLOSE,
    effects,
    events,
    long_ago,
    look,
    move,
    open_cross,
    states,
)

pytestmark = pytest.mark.usefixtures("chain")


@pytest.fixture
def guard(guard: MarginGuard) -> MarginGuard:
    """Closes when half of the margin is lost."""
    guard.steps.update(does=GuardStep.Does.CLOSE, amount_sats=None)
    return guard


def known(client: Client, account: Account) -> None:
    reading = Reading(account_id=account.pk, snapshot=read_all(client), regimes=frozenset(Regime))
    known_positions.write_down([reading])


def close_that_never_arrived(venue: Simulator, guard: MarginGuard, position: Position, at: int) -> None:
    move(venue, at)
    venue.fault("status", status=504, path=CLOSE)
    venue.fault("status", status=504, path=CROSS_CLOSE)
    assert look(guard, position) == "unknown"
    venue.clear_faults()


def end_by_hand_before(client: Client, position: Position) -> None:
    """The decision was made on what was read before the owner closed."""
    client.rest.close(position.id)
    Execution.objects.update(decided_at=timezone.now() + timedelta(seconds=2))


@pytest.mark.parametrize("ends", ["liquidated", "stoploss_executed", "closed_elsewhere"])
def test_a_close_that_never_arrived_is_not_what_ended_a_trade(
    venue: Simulator, client: Client, account: Account, *, long: Position, guard: MarginGuard, ends: str
) -> None:
    if ends == "stoploss_executed":
        client.set_stoploss(long.id, UsdPerBtc(Decimal(94_000)))
    known(client, account)
    close_that_never_arrived(venue, guard, long, 95_000)
    if ends == "closed_elsewhere":
        end_by_hand_before(client, long)
    else:
        move(venue, 90_000 if ends == "liquidated" else 94_000)
    known(client, account)

    reconciling.settle_all()

    assert states() == ["not_applied"], "also though its request might still arrive: nothing runs"
    assert closings.explain() == 1
    assert events()[-1] == ends


def test_a_trade_that_ended_at_the_market_after_our_request_left_may_be_our_doing(
    venue: Simulator, client: Client, account: Account, *, long: Position, guard: MarginGuard
) -> None:
    """Nothing that the exchange shows tells the owner's hand from ours."""
    known(client, account)
    close_that_never_arrived(venue, guard, long, 95_000)
    client.rest.close(long.id)

    reconciling.settle_all()

    assert states() == ["confirmed"]
    owner = Person(number=9, account=account, key=venue.accounts[0].credentials.key, client=client.rest)
    owner.tried[long.id] = owner.closed[long.id] = 1
    writes = [asdict(write) for write in venue.writes()]
    soaked = summing.compared(Execution.objects.all(), writes, [owner])
    assert (soaked["lost_effects"], soaked["closed_by_either_hand"]) == (0, 1)
    owner.tried.clear()
    assert summing.compared(Execution.objects.all(), writes, [owner])["lost_effects"] == 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_cross_position_that_is_flat_was_closed_by_us_unless_it_was_liquidated(
    venue: Simulator, client: Client, guard: MarginGuard, *, lost: bool
) -> None:
    MarginGuard.objects.update(regime="cross")
    guard.refresh_from_db()
    position = open_cross(client)
    if lost:
        move(venue, 75_000)
        venue.fault("lost_answer", path=CROSS_CLOSE)
        look(guard, position)
    else:
        close_that_never_arrived(venue, guard, position, 75_000)
        move(venue, 60_000)
    long_ago()

    reconciling.settle_all()

    assert states() == ["confirmed" if lost else "not_applied"]
    assert effects(venue, CROSS_CLOSE) == int(lost)
