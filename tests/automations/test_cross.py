"""The cross position: deposit, reduce under a cap, close; and its take profit and stop loss."""

import pytest

from accounts.models import Account
from automations import executing
from automations.executing import Facts
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard, TakeProfitStopLoss
from automations.reading import read
from automations.rules.actions import ReducePosition
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.errors import TransientError
from exchange.formulas import Side
from exchange.money import Usd
from exchange.paging import LATEST
from exchange.position import CROSS, Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    CROSS_CLOSE,
    DEPOSIT,
    SWEEP,
    cross,
    effects,
    events,
    look,
    move,
    open_cross,
    rest_until_ready,
    states,
)

pytestmark = pytest.mark.usefixtures("chain")


@pytest.fixture
def long(client: Client) -> Position:
    """1,000 USD from 100,000 on 500,000 sats; half of it is lost at about 80,000."""
    return open_cross(client)


@pytest.fixture
def guard(guard: MarginGuard) -> MarginGuard:
    guard.regime = Regime.CROSS
    guard.save()
    return guard


def test_adds_margin_by_a_deposit(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    move(venue, 80_000)

    assert look(guard, long) == "confirmed"

    now = cross(client)
    assert (now.margin - long.margin, effects(venue, DEPOSIT)) == (20_000, 2)
    assert now.liquidation < long.liquidation
    execution = Execution.objects.get()
    assert (execution.regime, execution.position_id) == ("cross", CROSS)
    assert execution.after["margin"] == now.margin
    assert execution.after["balance"] == venue.balance()


def test_its_budget_and_its_rest_hold_as_for_a_trade(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    move(venue, 72_000)
    words = []
    for _ in range(4):
        words.append(look(guard, long))
        words.append(look(guard, long))
        rest_until_ready(guard)

    assert words == ["confirmed", "cooldown"] * 3 + ["budget_used_up"] * 2
    assert cross(client).margin - long.margin == 50_000


def test_closes(venue: Simulator, client: Client, long: Position, guard: MarginGuard) -> None:
    GuardStep.objects.update(does="close_position", amount_sats=None)
    move(venue, 80_000)

    assert look(guard, long) == "confirmed"

    assert client.rest.cross.position().running() is None
    assert effects(venue, CROSS_CLOSE) == 1
    assert look(guard, long) == "the position is gone"


@pytest.fixture
def reducer(guard: MarginGuard) -> MarginGuard:
    """Closes 40 % when liquidation is 20 % away."""
    guard.metric = "liquidation_distance"
    guard.save()
    guard.steps.update(
        does="reduce_position", amount_sats=None, reduce_percentage=40, threshold_percent=20
    )
    return guard


def test_reduces_by_an_opposite_order_without_the_owners_tick(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 80_000)

    assert look(reducer, long) == "confirmed"

    assert cross(client).quantity == 600
    execution = Execution.objects.get()
    order = client.rest.cross.filled_orders(LATEST)[0]
    assert (order.side, order.quantity, order.client_id) == (Side.SELL, 400, execution.client_id)


def test_a_size_that_cannot_be_read_before_the_order_refuses_nothing(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 80_000)
    read(client, Regime.CROSS)  # so that deciding reads nothing
    venue.fault("status", status=400, method="GET", path="/v3/futures/cross/position")

    with pytest.raises(TransientError, match="Nothing was ordered"):
        look(reducer, long)

    assert states() == ["not_sent"]
    assert look(reducer, long) == "confirmed"
    assert cross(client).quantity == 600


@pytest.mark.parametrize(
    ("metric", "threshold", "left"),
    [
        pytest.param("liquidation_distance", 20, 600, id="liquidation distance"),
        pytest.param("liquidation_distance", 40, 292, id="more than the part"),
        pytest.param("margin_ratio", "0.5", 600, id="margin ratio"),
    ],
)
def test_at_a_standing_price_it_is_reduced_once(
    venue: Simulator,
    client: Client,
    long: Position,
    reducer: MarginGuard,
    *,
    metric: str,
    threshold: int | str,
    left: int,
) -> None:
    MarginGuard.objects.update(metric=metric)
    reducer.steps.update(threshold_percent=threshold)
    move(venue, 80_000)

    words = []
    for _ in range(3):
        words.append(look(reducer, long))
        rest_until_ready(reducer)

    assert words[0] == "confirmed"
    assert all("has not reached" in word for word in words[1:])
    assert cross(client).quantity == left


def test_reducing_where_that_leaves_the_margin_used_as_it_is_closes_nothing(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    """As a guard that was saved before that was refused."""
    MarginGuard.objects.update(metric="margin_used")
    move(venue, 80_000)

    assert look(reducer, long) == "cannot_reduce"
    assert "leaves its margin used where it is" in JournalEntry.objects.latest("id").message
    assert cross(client).quantity == 1000


@pytest.mark.parametrize(
    ("by_hand", "state", "left", "closed"),
    [
        pytest.param(None, "confirmed", (Side.BUY, 100), 900, id="as it was"),
        pytest.param((Side.SELL, 500), "confirmed", None, 500, id="halved: never flipped"),
        pytest.param((Side.SELL, 1000), "rejected", None, 900, id="closed by hand"),
        pytest.param((Side.SELL, 1500), "rejected", (Side.SELL, 500), 900, id="flipped by hand"),
    ],
)
def test_what_the_owner_did_since_caps_the_reduction(
    client: Client,
    long: Position,
    guard: MarginGuard,
    *,
    by_hand: tuple[Side, int] | None,
    state: str,
    left: tuple[Side, int] | None,
    closed: int,
) -> None:
    seen = Facts(seen=read(client, Regime.CROSS), cause=SWEEP, position=long)
    if by_hand is not None:
        client.rest.cross.order(NewCrossOrder(side=by_hand[0], quantity=Usd(by_hand[1])))
    wanted = ReducePosition(position_id=CROSS, quantity=Usd(900), why="test")

    assert executing.carry_out(guard, [wanted], seen, client).word == state

    running = client.rest.cross.position().running()
    assert (running and (running.side, running.quantity)) == left
    assert Execution.objects.get().quantity == closed


@pytest.mark.parametrize(
    ("does", "when", "market"),
    [
        pytest.param("close_tp", "profit", 126_000, id="profit"),
        pytest.param("close_sl", "loss", 85_000, id="loss"),
    ],
)
def test_take_profit_and_stop_loss_close_it(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    does: str,
    when: str,
    market: int,
) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="x",
        regime="cross",
        does=does,
        when=when,
        trigger_pnl_percentage=30,
    )

    assert "has not reached" in look(exits, long), "there is no native stop on it"
    move(venue, market)
    assert look(exits, long) == "confirmed"

    assert client.rest.cross.position().running() is None
    assert events()[-2:] == ["tp_sl_executed", "tp_sl_read_back"]


def test_a_guard_of_trades_never_touches_the_cross_position(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(regime=Regime.ISOLATED)
    move(venue, 80_000)

    assert look(guard, long) == "the position is gone"
    assert states() == []
