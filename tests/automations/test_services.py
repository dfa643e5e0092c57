"""What one look at a position does at the exchange and leaves in the record."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from accounts.gateway import client_for, redis_client
from accounts.models import Account
from automations import reconciling, services
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from automations.reading import told
from exchange.client import Client
from exchange.errors import TransientError
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    SWEEP,
    a_moment_ago,
    ask_keys_again,
    effects,
    events,
    held_elsewhere,
    long_ago,
    look,
    move,
    rest_until_ready,
)
from tests.automations.conftest import new_account, open_long


def test_adds_margin_and_records_before_and_after(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)

    assert look(guard, long) == "confirmed"

    execution = Execution.objects.get()
    assert (execution.before["margin"], execution.after["margin"]) == (100_000, 120_000)
    assert (execution.before["liquidation"], execution.after["liquidation"]) == ("90909", "89285.5")
    assert execution.after["balance"] == client.account().balance
    assert execution.amount_sats == 20_000
    assert execution.settled_at is not None
    assert client.rest.running_trades()[0].margin == 120_000
    assert effects(venue) == 1


def test_the_balance_before_is_the_last_one_known_with_its_time_and_asks_nobody(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    before = client.balance()

    look(guard, long)

    execution = Execution.objects.get()
    assert execution.before.items() >= told(before).items()
    assert execution.before["balance"] == before.free == execution.after["balance"] + 20_000
    assert execution.before["balanceAt"] == before.at.isoformat()
    assert execution.after["balanceAt"] > execution.before["balanceAt"]
    assert execution.after["balanceSource"] == "rest"
    intended = JournalEntry.objects.order_by("id")[0]
    assert intended.data["balance"] == before.free


@pytest.mark.usefixtures("no_balance")
def test_a_balance_that_cannot_be_read_is_null_and_never_0_and_stops_no_rescue(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=500, path="/v3/account", next=3)

    assert look(guard, long) == "confirmed"

    before = Execution.objects.get().before
    assert (before["balance"], before["balanceAt"], before["balanceSource"]) == (None, None, None)


@pytest.fixture
def no_balance(long: Position) -> None:  # noqa: ARG001 - opening it may have told one
    redis_client().flushdb()


def test_the_journal_tells_the_story_in_its_shape(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)

    look(guard, long)

    _, executed, read_back = JournalEntry.objects.order_by("id")
    assert events() == ["margin_guard_intended", "margin_guard_executed", "margin_guard_read_back"]
    told = executed.as_json()
    assert set(told) == {"automationId", "type", "message", "data", "timestamp"}
    assert told["automationId"] == guard.pk
    assert told["type"] == "margin_guard_executed"
    assert told["data"]["positionId"] == long.id
    assert told["data"]["action"] == "add_margin"
    assert told["data"]["marginRatio"] == 0.022695
    assert told["data"]["after"]["margin"] == 120_000
    assert read_back.data["after"]["balance"] == venue.balance()


def test_closes_a_position_when_told_to(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.CLOSE)
    venue.set_price(95_000)

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades() == ()
    assert Execution.objects.get().does == "close_position"


def test_decides_anew_and_leaves_a_position_with_room_alone(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    assert "has not reached" in look(guard, long)

    assert not Execution.objects.exists()
    assert not JournalEntry.objects.exists()
    assert effects(venue) == 0


@pytest.mark.parametrize(
    "switch",
    [
        pytest.param(lambda: MarginGuard.objects.update(enabled=False), id="guard disabled"),
        pytest.param(lambda: Account.objects.update(is_active=False), id="account inactive"),
        pytest.param(lambda: Account.objects.update(verified_at=None), id="account not verified"),
    ],
)
def test_acts_only_for_who_is_switched_on(
    venue: Simulator, long: Position, guard: MarginGuard, switch: Callable[[], Any]
) -> None:
    venue.set_price(95_000)
    switch()

    look(guard, long)

    assert effects(venue) == 0


def test_a_position_that_is_gone_is_left_alone(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    client.close(long.id)
    venue.set_price(95_000)

    assert look(guard, long) == "the position is gone"


def test_rests_after_acting_and_says_so_once(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_000)
    MarginGuard.objects.update(cooldown_s=600)
    look(guard, long)

    assert look(guard, long) == "cooldown"
    assert look(guard, long) == "cooldown"

    assert effects(venue) == 1
    held = JournalEntry.objects.filter(event="margin_guard_held")
    assert [entry.data["reason"] for entry in held] == ["cooldown"]


def test_never_spends_more_than_its_budget_on_a_position(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(92_000)
    words = []
    for _ in range(4):
        words.append(look(guard, long))
        rest_until_ready(guard)

    assert words == ["confirmed", "confirmed", "confirmed", "budget_used_up"]
    assert client.rest.running_trades()[0].margin == 150_000, "20,000 + 20,000 + the last 10,000"


def test_never_spends_more_than_its_budget_in_a_day(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_day_sats=30_000)
    other = open_long(client)
    venue.set_price(92_000)

    look(guard, long)
    look(guard, other)

    spent = [execution.amount_sats for execution in Execution.objects.order_by("id")]
    assert spent == [20_000, 10_000]


def test_a_lost_answer_is_never_sent_again(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_000)
    venue.fault("lost_answer", path=ADD_MARGIN)

    assert look(guard, long) == "unknown"
    assert Execution.objects.get().state == "confirmed", "looked for at once, and found"
    assert look(guard, long) == "cooldown"

    assert effects(venue) == 1


def test_what_may_still_arrive_blocks_the_next_action(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_000)
    venue.fault("status", status=504, path=ADD_MARGIN)

    assert look(guard, long) == "unknown"
    assert look(guard, long) == "unsettled"

    assert effects(venue) == 0
    assert Execution.objects.get().settled_at is None


def test_a_top_up_that_does_not_show_after_a_second_counts_as_spent_and_blocks_no_other(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=30_000)
    venue.set_price(94_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    look(guard, long)
    a_moment_ago()

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades()[0].margin == 110_000, "10,000 were left of the budget"
    long_ago()
    assert [each.state for each in reconciling.settle_all()] == ["not_applied"]


def test_closing_waits_for_no_top_up_without_an_answer(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    guard.steps.create(threshold_percent=80, does=GuardStep.Does.CLOSE)
    venue.set_price(94_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    assert look(guard, long) == "unknown"
    move(venue, 92_500)

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades() == ()


@pytest.mark.django_db(transaction=True)
def test_closing_waits_for_no_top_up_on_its_way(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """Another worker has the position, and waits for the exchange."""
    guard.steps.create(threshold_percent=80, does=GuardStep.Does.CLOSE)
    venue.set_price(92_500)

    with held_elsewhere(long.id):
        assert look(guard, long) == "confirmed"

    assert client.rest.running_trades() == ()


def test_what_was_surely_not_done_is_settled_and_may_be_tried_again(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=503, path=ADD_MARGIN)

    with pytest.raises(TransientError):
        look(guard, long)
    assert look(guard, long) == "confirmed"

    states = [execution.state for execution in Execution.objects.order_by("id")]
    assert states == ["not_sent", "confirmed"]
    assert effects(venue) == 1


def test_a_refusal_by_the_exchange_is_recorded_with_its_words(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=400, path=ADD_MARGIN)

    assert look(guard, long) == "rejected"

    execution = Execution.objects.get()
    assert "400" in execution.error
    assert JournalEntry.objects.filter(event="margin_guard_rejected").exists()


def test_a_refused_key_suspends_its_account_once_it_was_asked_twice_more(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=401, account=venue.accounts[0].credentials.key, next=10)

    with pytest.raises(TransientError):
        look(guard, long)
    assert Account.objects.get().may_act
    ask_keys_again()

    account.refresh_from_db()
    assert not account.may_act
    assert "401" in account.fault


def test_a_failed_read_stops_the_decision(venue: Simulator, long: Position, guard: MarginGuard) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=500, path="/v3/futures/isolated/trades/running", next=10)

    with pytest.raises(TransientError):
        look(guard, long)

    assert not Execution.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_five_looks_at_once_have_one_effect(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_500)
    MarginGuard.objects.update(cooldown_s=600)
    start = threading.Barrier(5)

    def look_at_once() -> None:
        start.wait(5)
        look(guard, long)
        connection.close()

    threads = [threading.Thread(target=look_at_once) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)

    assert effects(venue) == 1


def test_the_sweep_finds_what_is_due_and_nothing_else(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    assert list(services.due(MarginGuard)) == []

    venue.set_price(95_000)
    redis_client().flushdb()

    assert list(services.due(MarginGuard)) == [
        services.Due(automation_id=guard.pk, position_id=long.id, urgent=True)
    ]


@pytest.mark.parametrize("at_once", [pytest.param(1, id="each alone"), pytest.param(9, id="together")])
def test_the_sweep_weighs_all_accounts_however_many_at_once(
    venue: Simulator, long: Position, guard: MarginGuard, at_once: int
) -> None:
    second = new_account(venue, 1)
    other = open_long(client_for(second))
    MarginGuard.objects.create(enabled=True, account=second, name="second").steps.create(
        threshold_percent=50, does="close_position"
    )
    venue.set_price(95_000)
    redis_client().flushdb()

    found = [due.position_id for due in services.due(MarginGuard, accounts_at_once=at_once)]

    assert guard.account_id < second.pk
    assert found == [long.id, other.id]


@pytest.mark.usefixtures("guard")
def test_one_account_that_cannot_be_read_holds_up_no_other(venue: Simulator, long: Position) -> None:
    broken = new_account(venue, 1)
    MarginGuard.objects.create(enabled=True, account=broken, name="first").steps.create(
        threshold_percent=50, does="close_position"
    )
    venue.set_price(95_000)
    venue.fault("status", status=401, account=venue.accounts[1].credentials.key, next=10)

    assert [due.position_id for due in services.due(MarginGuard)] == [long.id]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_gone_costs_no_look(
    venue: Simulator, client: Client, guard: MarginGuard
) -> None:
    position = open_long(client)
    move(venue, 95_000)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (number,) = cursor.fetchone()
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [number])

    assert services.act(guard.pk, position.id, SWEEP)["status"] == "confirmed"
