"""Reducing an isolated trade: closed whole, the rest opened anew, and flat where that fails."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.models import Account
from automations import reconciling
from automations.models import (
    Automation,
    Execution,
    GuardStep,
    JournalEntry,
    MarginGuard,
    PositionThreshold,
    SpentStep,
    TakeProfitStopLoss,
)
from exchange.client import Client
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.paging import LATEST
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.acting import (
    CLOSE,
    ISOLATED,
    effects,
    held_elsewhere,
    long_ago,
    look,
    move,
    reasons,
    reported,
    rest_until_ready,
    states,
    written,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("chain")


@pytest.fixture
def reducer(guard: MarginGuard) -> MarginGuard:
    """Closes 40 % when half of the margin is lost; its owner has seen what that costs."""
    guard.accepts_reopening = True
    guard.save()
    guard.steps.update(does=GuardStep.Does.REDUCE, amount_sats=None, reduce_percentage=40)
    return guard


def looked_at_elsewhere(automation: MarginGuard, position: Position) -> str:
    try:
        return look(automation, position)
    finally:
        connection.close()


def latest_but_read_back() -> JournalEntry:
    return JournalEntry.objects.exclude(event="margin_guard_read_back").latest("id")


def running(client: Client) -> Position:
    (position,) = client.rest.running_trades()
    return position


def test_a_trade_is_closed_and_its_rest_opened_anew(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)

    assert look(reducer, long) == "confirmed"

    closed, opened = Execution.objects.order_by("id")
    rest = running(client)
    assert written(venue) == ["isolated/trade", "isolated/trade/close", "isolated/trade"]
    assert (closed.does, closed.position_id, closed.quantity) == ("reduce_position", long.id, 400)
    assert (opened.does, opened.position_id, opened.quantity) == ("open_position", rest.id, 600)
    assert opened.follows == closed
    assert rest.client_id == opened.client_id
    assert (rest.side, rest.quantity, rest.entry) == (Side.BUY, Usd(600), Decimal(95_000))
    assert opened.after["balance"] == venue.balance()


def test_a_reduction_spends_no_fresh_sats_and_moves_liquidation_away(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    free = venue.balance()
    move(venue, 95_000)

    look(reducer, long)

    assert venue.balance() >= free
    assert running(client).liquidation < long.liquidation


def test_the_guard_looks_at_the_new_trade_from_where_it_is(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)
    look(reducer, long)

    assert look(reducer, long) == "the position is gone"
    assert "has not reached" in look(reducer, running(client))


def test_what_names_the_trade_goes_on_with_the_new_one(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    reducer.only_positions = [long.id, "another"]
    reducer.save()
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=reducer.account,
        name="exits",
        does="close_tp",
        trigger_pnl_percentage=50,
        only_positions=[long.id],
    )
    reducer.steps.get().position_thresholds.create(position_id=long.id, threshold_percent=45)
    move(venue, 95_000)

    look(reducer, long)

    new = running(client).id
    reducer.refresh_from_db()
    exits.refresh_from_db()
    assert reducer.only_positions == [new, "another"]
    assert exits.only_positions == [new]
    assert PositionThreshold.objects.get().position_id == new


def test_what_happened_to_the_trade_happened_to_the_new_one(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    """Reduced twice: what its guards added and which steps acted is known under its third name."""
    reducer.cooldown_s = 1
    reducer.save()
    adder = MarginGuard.objects.create(account=reducer.account, name="adder", cooldown_s=1)
    once = adder.steps.create(
        threshold_percent=30, does="add_fixed", amount_sats=1000, hysteresis_percent=5
    )
    reducer.steps.update(hysteresis_percent=5)
    move(venue, 95_000)
    assert look(adder, long) == "confirmed"

    names = [long.id]
    for price in (94_000, 90_000):
        move(venue, price)
        SpentStep.objects.exclude(step=once).delete()
        Execution.objects.update(settled_at=timezone.now() - timedelta(hours=1))
        assert look(reducer, names[-1]) == "confirmed"
        names.append(running(client).id)

    past = Execution.objects.filter(Q(position_id=names[2]) | Q(continues_as=names[2]))
    assert [each.does for each in past.order_by("id")] == [
        "add_margin", "reduce_position", "open_position", "reduce_position", "open_position",
    ]  # fmt: skip
    spent = SpentStep.objects.order_by("step_id").values_list("step", "position_id")
    assert set(spent) == {(once.pk, names[2]), (reducer.steps.get().pk, names[2])}


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        pytest.param(
            {"stoploss": 92_000, "takeprofit": 120_000}, (92_000, 120_000, None), id="both fit"
        ),
        pytest.param({"trailing": "0.07"}, (88_350, None, Decimal("0.07")), id="trailing"),
        pytest.param({}, (None, None, None), id="none"),
    ],
)
def test_stop_and_take_profit_are_passed_again(
    venue: Simulator,
    client: Client,
    reducer: MarginGuard,
    *,
    asked: dict[str, Any],
    kept: tuple[object, ...],
) -> None:
    exits = {name: Decimal(value) for name, value in asked.items()}
    opened = client.open_trade(
        NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000), **exits)  # type: ignore[arg-type]
    )
    move(venue, 95_000)

    assert look(reducer, opened.id) == "confirmed"

    rest = running(client)
    assert (rest.stoploss, rest.takeprofit, rest.trailing) == kept


def test_a_trade_whose_margin_was_topped_up_is_reopened_whatever_digits_its_leverage_has(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    """1,000 USD on 130,007 sats are 7.69189350…x, with more digits than the exchange takes back."""
    topped_up = client.add_margin(long.id, Sats(30_007))
    assert len(topped_up.leverage.as_tuple().digits) > 15
    move(venue, 93_500)

    assert look(reducer, long) == "confirmed"
    assert (running(client).quantity, running(client).leverage) == (Usd(600), Decimal("10.86"))


def test_the_smaller_trade_keeps_the_margin_that_came_back(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    free = venue.balance()
    move(venue, 97_000)
    reducer.steps.update(threshold_percent=30)

    look(reducer, long)

    rest = running(client)
    assert rest.leverage < long.leverage
    assert rest.liquidation_distance_at(97_000) > Fraction(3, 2) * long.liquidation_distance_at(97_000)
    assert 0 <= venue.balance() - free < long.margin // 100


@pytest.mark.parametrize("side", Side)
def test_at_a_standing_price_a_trade_is_reduced_once(
    venue: Simulator, client: Client, reducer: MarginGuard, side: Side
) -> None:
    """At the same leverage it took 14 rounds, 42,977 of 399,960 sats in fees, and all was closed."""
    reducer.metric = "liquidation_distance"
    reducer.save()
    reducer.steps.update(threshold_percent=5)
    opened = client.open_trade(NewTrade(side=side, leverage=Decimal(25), quantity=Usd(10_000)))
    move(venue, 100_000)

    assert look(reducer, opened.id) == "confirmed"

    rest_until_ready(reducer)
    rest = running(client)
    assert "has not reached 5.00 %" in look(reducer, rest)
    assert rest.quantity == 6000
    fees = sum(trade.closing_fee for trade in client.closed_trades(LATEST))
    assert fees == 10_000
    assert states() == ["confirmed", "confirmed"]


@pytest.mark.django_db(transaction=True)
def test_where_the_market_fell_before_the_rest_is_opened_no_fresh_sats_are_spent(
    venue: Simulator, long: Position, reducer: MarginGuard
) -> None:
    free = venue.balance()
    move(venue, 95_000)
    venue.fault("late_answer", ms=2000, path=CLOSE)
    with ThreadPoolExecutor(1) as thread:
        word = thread.submit(looked_at_elsewhere, reducer, long)
        wait_until(lambda: "isolated/trade/close" in written(venue), what="the trade is closed")
        move(venue, 93_000)

        assert word.result() == "confirmed"

    assert venue.balance() >= free


def test_where_the_exchange_refuses_the_rest_it_stays_flat_and_says_so(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=400, method="POST", path=ISOLATED)

    assert look(reducer, long) == "rejected"

    assert client.rest.running_trades() == ()
    assert states() == ["confirmed", "rejected"]
    newest = latest_but_read_back()
    assert newest.event == "margin_guard_rejected"
    assert f"{long.id} is closed and its rest was not opened again, so it is flat" in newest.message


def test_a_rest_that_could_not_be_sent_is_not_tried_again(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=503, method="POST", path=ISOLATED)

    assert look(reducer, long) == "not_sent"

    assert client.rest.running_trades() == ()
    assert states() == ["confirmed", "not_sent"]
    assert "so it is flat" in latest_but_read_back().message


@pytest.mark.django_db(transaction=True)
def test_an_account_that_may_no_longer_act_once_its_trade_was_closed_stays_flat(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    """The key is refused elsewhere while the close is on its way."""
    move(venue, 95_000)
    venue.fault("late_answer", ms=3000, path=CLOSE)
    with ThreadPoolExecutor(1) as thread:
        word = thread.submit(looked_at_elsewhere, reducer, long)
        wait_until(lambda: "isolated/trade/close" in written(venue), what="the trade is closed")
        Account.objects.update(verified_at=None)

        assert word.result() == "account_inactive"

    assert written(venue) == ["isolated/trade", "isolated/trade/close"]
    assert client.rest.running_trades() == ()
    assert "so it is flat" in latest_but_read_back().message
    assert "so it is flat" in reported(Execution.objects.get())
    assert reconciling.settle_all() == []


@pytest.mark.parametrize(
    ("fault", "state", "size"),
    [
        pytest.param({"kind": "lost_answer"}, "confirmed", 600, id="opened, the answer lost"),
        pytest.param({"kind": "status", "status": 504}, "not_applied", 0, id="never opened"),
    ],
)
def test_a_rest_without_an_answer_is_settled_by_its_label(
    venue: Simulator,
    client: Client,
    long: Position,
    reducer: MarginGuard,
    *,
    fault: dict[str, Any],
    state: str,
    size: int,
) -> None:
    reducer.only_positions = [long.id]
    reducer.save()
    move(venue, 95_000)
    venue.fault(**fault, method="POST", path=ISOLATED)

    assert look(reducer, long) == "unknown"
    long_ago()
    reconciling.settle_all()

    assert Execution.objects.latest("id").state == state
    assert sum(position.quantity for position in client.rest.running_trades()) == size
    reducer.refresh_from_db()
    if size:
        assert reducer.only_positions == [running(client).id]
    else:
        assert "may be flat" in JournalEntry.objects.latest("id").message
    assert effects(venue, CLOSE) == 1


def test_a_close_without_an_answer_is_not_followed_by_an_opening(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("lost_answer", path=CLOSE)

    assert look(reducer, long) == "unknown"

    assert Execution.objects.get().state == "confirmed"
    assert client.rest.running_trades() == ()
    assert (
        "its rest was not opened again"
        in JournalEntry.objects.filter(event__endswith="_reconciled").latest("id").message
    )
    assert "its rest was not opened again" in reported(Execution.objects.get())
    assert reconciling.settle_all() == []


def died_between(venue: Simulator, client: Client, long: Position, reducer: MarginGuard) -> Execution:
    """Leave what a worker leaves that is killed once its close is confirmed."""
    move(venue, 95_000)
    look(reducer, long)
    client.close(running(client).id)
    Execution.objects.filter(does="open_position").delete()
    Execution.objects.update(reopening_due=True)
    return Execution.objects.get()


def test_a_worker_that_died_before_the_reopening_leaves_it_flat_and_that_is_said_once(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    closed = died_between(venue, client, long, reducer)
    opened = effects(venue, ISOLATED)

    assert reconciling.settle_all() == [closed]
    assert reconciling.settle_all() == []

    closed.refresh_from_db()
    newest = JournalEntry.objects.latest("id")
    said = f"{long.id} is closed and its rest was not opened again, so it is flat: "
    assert (newest.event, newest.execution) == ("margin_guard_reconciled", closed)
    assert newest.message.startswith(said)
    assert closed.state == "confirmed"
    assert reported(closed) == closed.error == newest.message
    assert JournalEntry.objects.filter(message__contains="so it is flat").count() == 1
    assert effects(venue, ISOLATED) == opened, "the market moved on"


@pytest.mark.django_db(transaction=True)
def test_a_reopening_whose_worker_is_at_it_is_left_to_it(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    died_between(venue, client, long, reducer)

    with held_elsewhere(long.id):
        assert reconciling.settle_all() == []

    assert Execution.objects.get().reopening_due


def test_what_was_reopened_or_refused_is_owed_nothing(
    venue: Simulator, long: Position, reducer: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=400, path=CLOSE)
    assert look(reducer, long) == "rejected"
    assert reconciling.settle_all() == []
    rest_until_ready(reducer)
    assert look(reducer, long) == "confirmed"

    assert reconciling.settle_all() == []
    assert "flat" not in JournalEntry.objects.latest("id").message


def test_two_trades_of_one_guard_may_wait_for_their_rests_at_once(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    other = client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000)))
    move(venue, 95_000)
    venue.fault("lost_answer", method="POST", path=ISOLATED, next=2)

    assert [look(reducer, long), look(reducer, other.id)] == ["unknown", "unknown"]
    assert set(Execution.objects.values_list("state", flat=True)) == {"confirmed"}
    assert {position.quantity for position in client.rest.running_trades()} == {600}


def test_without_the_owners_tick_nothing_is_reduced(
    venue: Simulator, long: Position, reducer: MarginGuard
) -> None:
    with pytest.raises(ValidationError) as refused:
        GuardStep(
            guard=MarginGuard(metric="margin_used"),
            threshold_percent=Decimal(50),
            does="reduce_position",
            reduce_percentage=Decimal(40),
        ).clean()
    assert "accept the cost" in refused.value.message_dict["does"][0]

    MarginGuard.objects.update(accepts_reopening=False)
    move(venue, 95_000)

    assert look(reducer, long) == "not_accepted"
    assert effects(venue, CLOSE) == 0
    assert reasons() == ["not_accepted"]


def test_a_part_that_leaves_no_whole_contract_closes_all(
    venue: Simulator, client: Client, reducer: MarginGuard
) -> None:
    tiny = client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1)))
    move(venue, 95_000)

    assert look(reducer, tiny.id) == "confirmed"

    assert client.rest.running_trades() == ()
    assert Execution.objects.get().does == "close_position"


def test_the_new_trade_is_reduced_again_at_once_where_the_danger_is_worse(
    venue: Simulator, client: Client, long: Position, reducer: MarginGuard
) -> None:
    Automation.objects.update(cooldown_s=600)
    move(venue, 95_000)
    look(reducer, long)
    rest = running(client)
    move(venue, str(rest.liquidation + 2000))

    assert look(reducer, rest) == "confirmed"
    assert running(client).quantity == 360
