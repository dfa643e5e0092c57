"""Each gate that may refuse an action, and what is recorded of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.gateway import live_view, redis_client
from accounts.models import Account, Installation
from automations import executing, gates, services
from automations.executing import Facts
from automations.gate_request import Request
from automations.models import Automation, Execution, MarginGuard
from automations.reading import Seen, read
from automations.rules.actions import AddMargin, ClosePosition
from exchange.account import Balance
from exchange.client import Client
from exchange.errors import TransientError
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    CLOSE,
    SWEEP,
    ask_keys_again,
    effects,
    events,
    long_ago,
    look,
    move,
    reasons,
    rest_until_ready,
    states,
    written,
)
from tests.automations.conftest import open_long
from tests.automations.test_guarding import DOES, step

pytestmark = pytest.mark.usefixtures("chain")


def halt_all(switch: str, _of: Automation) -> None:
    Installation.objects.update_or_create(pk=1, defaults={"switch": switch})


def halt_account(switch: str, of: Automation) -> None:
    Account.objects.filter(pk=of.account_id).update(switch=switch)


def halt_one(switch: str, of: Automation) -> None:
    Automation.objects.filter(pk=of.pk).update(switch=switch)


LEVELS = [
    pytest.param(halt_all, id="everything"),
    pytest.param(halt_account, id="the account"),
    pytest.param(halt_one, id="the automation"),
]
Throw = Callable[[str, Automation], None]


@pytest.mark.parametrize("throw", LEVELS)
@pytest.mark.parametrize("does", [DOES.ADD_FIXED, DOES.CLOSE, DOES.NOTIFY])
def test_halted_lets_nothing_through(
    venue: Simulator, long: Position, guard: MarginGuard, throw: Throw, does: str
) -> None:
    step(does=does, amount_sats=5_000 if does == DOES.ADD_FIXED else None)
    move(venue, 95_000)
    throw("halted", guard)

    assert look(guard, long) == "halted"

    assert written(venue) == ["isolated/trade"]
    assert not Execution.objects.exists()
    assert (events(), reasons()) == (["margin_guard_held"], ["halted"])


@pytest.mark.parametrize("throw", LEVELS)
@pytest.mark.parametrize("does", [DOES.ADD_FIXED, DOES.CLOSE])
def test_reduce_only_lets_through_what_cuts_risk(
    venue: Simulator, long: Position, guard: MarginGuard, throw: Throw, does: str
) -> None:
    step(does=does, amount_sats=5_000 if does == DOES.ADD_FIXED else None)
    move(venue, 95_000)
    throw("reduce_only", guard)

    assert look(guard, long) == "confirmed"


def facts(client: Client, position: Position, *, seconds_old: int = 0) -> Facts:
    """What was seen of a position some seconds ago."""
    seen = read(client, Regime.ISOLATED)
    quote = Quote(
        price=seen.quote.price,
        at=timezone.now() - timedelta(seconds=seconds_old),
        time_ms=seen.quote.time_ms,
        source=Source.REST,
    )
    return Facts(seen=Seen(quote=quote, positions=seen.positions), cause=SWEEP, position=position)


def test_what_was_decided_on_data_too_old_by_now_is_refused(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    action = ClosePosition(position_id=long.id, why="test")

    outcome = executing.carry_out(guard, [action], facts(client, long, seconds_old=6), client)

    assert (outcome.word, outcome.execution) == ("stale", None)
    assert effects(venue, CLOSE) == 0
    assert reasons() == ["stale"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param(lambda: MarginGuard.objects.update(enabled=False), "disabled", id="disabled"),
        pytest.param(lambda: MarginGuard.objects.update(shadow=True), "shadow", id="made a shadow"),
        pytest.param(
            lambda: Account.objects.update(is_active=False), "account_inactive", id="account inactive"
        ),
    ],
)
def test_what_a_person_changed_after_the_decision_counts(
    venue: Simulator,
    client: Client,
    long: Position,
    guard: MarginGuard,
    *,
    change: Callable[[], Any],
    word: str,
) -> None:
    seen = facts(client, long)
    change()

    outcome = executing.carry_out(guard, [ClosePosition(position_id=long.id, why="test")], seen, client)

    assert outcome.word == word
    assert effects(venue, CLOSE) == 0


def test_an_account_never_spends_more_than_its_budget_in_a_day_whoever_asks(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, account: Account
) -> None:
    Account.objects.update(budget_per_day_sats=30_000)
    second = MarginGuard.objects.create(
        enabled=True, account=account, name="second", metric="margin_used"
    )
    second.steps.create(threshold_percent=50, does=DOES.ADD_FIXED, amount_sats=20_000)
    other = open_long(client)
    move(venue, 94_000)

    words = [look(guard, long), look(second, other), look(guard, other)]

    assert words == ["confirmed", "confirmed", "budget_used_up"]
    spent = [execution.amount_sats for execution in Execution.objects.order_by("id")]
    assert spent == [20_000, 10_000]


@pytest.mark.parametrize(
    ("above", "word", "added"),
    [
        pytest.param(50_000, "confirmed", 20_000, id="enough above it"),
        pytest.param(5_000, "confirmed", 5_000, id="cut to what is above it"),
        pytest.param(0, "reserve", 0, id="nothing above it"),
        pytest.param(-1, "reserve", 0, id="the balance is below it already"),
    ],
)
def test_the_reserve_stays(
    venue: Simulator, long: Position, guard: MarginGuard, *, above: int, word: str, added: int
) -> None:
    free = venue.balance()
    Account.objects.update(reserve_sats=free - above)
    move(venue, 95_000)

    assert look(guard, long) == word

    assert venue.balance() == free - added


def test_what_was_spent_since_the_balance_was_asked_for_is_not_free(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    balance = Balance(free=Sats(50_000), at=timezone.now())
    look(guard, long)
    Account.objects.update(reserve_sats=10_000)
    action = AddMargin(position_id=long.id, why="test", amount=Sats(99_999))
    request = Request.read(guard, action, read(client, Regime.ISOLATED), balance)

    assert gates.above_reserve(request) == 20_000


def test_an_account_acts_no_oftener_in_a_minute_than_it_may(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    Account.objects.update(guard_commands_per_minute=1)
    other = open_long(client)
    move(venue, 95_000)

    assert [look(guard, long), look(guard, other)] == ["confirmed", "command_rate"]
    long_ago()
    assert look(guard, other) == "confirmed"


def test_a_failure_is_reported_in_its_shape(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=400, path=ADD_MARGIN)

    look(guard, long)

    execution = Execution.objects.get()
    assert execution.settled_at is not None
    assert execution.report == {
        "status": "error",
        "error": execution.error,
        "timestamp": execution.settled_at.isoformat(),
        "automationId": guard.pk,
        "userId": account.owner_id,
        "accountId": account.pk,
        "accountName": "account 0",
    }
    assert "400" in execution.error


def test_after_a_429_nothing_was_done_and_it_says_how_long_to_wait(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=429, path=ADD_MARGIN)

    with pytest.raises(TransientError) as raised:
        look(guard, long)
    assert raised.value.after_s >= 1
    assert look(guard, long) == "confirmed"

    assert states() == ["not_sent", "confirmed"]
    assert effects(venue) == 1
    assert Execution.objects.filter(report__status="error").count() == 1


def test_a_key_revoked_before_a_read_suspends_its_account_once_it_was_asked_twice_more(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=401, path="/v3/futures/isolated/trades/running", next=5)

    with pytest.raises(TransientError):
        look(guard, long)
    assert Account.objects.get().may_act
    ask_keys_again()

    account.refresh_from_db()
    assert not account.may_act
    assert "401" in account.fault
    assert "may not act" in look(guard, long)


def test_every_line_of_an_execution_says_whose_it_is(
    venue: Simulator, long: Position, guard: MarginGuard, caplog: pytest.LogCaptureFixture
) -> None:
    move(venue, 95_000)
    venue.fault("lost_answer", path=ADD_MARGIN)
    caplog.set_level("INFO")

    look(guard, long)
    rest_until_ready(guard)
    move(venue, 93_000)
    venue.fault("status", status=400, path="/v3/account", next=5)
    look(guard, long)

    lines = [vars(record) for record in caplog.records if record.name.startswith("automations.")]
    assert {line["msg"] for line in lines} == {
        "execution settled", "execution settled by proof", "balance not read", "not read back",
    }  # fmt: skip
    for line in lines:
        assert (line["account"], line["account_name"]) == (guard.account_id, "account 0")
        if line["msg"] != "balance not read":
            assert line["automation"] == guard.pk
            assert line["execution"] in Execution.objects.values_list("pk", flat=True)


@pytest.mark.usefixtures("long")
def test_a_guard_whose_numbers_contradict_each_other_holds_up_no_other(
    venue: Simulator, guard: MarginGuard, account: Account
) -> None:

    MarginGuard.objects.create(enabled=True, account=account, name="a guard without a step")
    move(venue, 95_000)

    assert [due.automation_id for due in services.due(MarginGuard)] == [guard.pk]


def test_the_decision_and_its_data_are_stored_with_the_execution(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)

    look(guard, long)

    execution = Execution.objects.get()
    assert execution.price == UsdPerBtc(Decimal(95_000))
    assert Source(execution.price_source)
    assert Source(execution.positions_source)
    assert execution.positions_at is not None
    assert execution.positions_at <= execution.decided_at


def test_positions_that_the_stream_confirmed_are_as_fresh_as_that(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, account: Account
) -> None:
    """Between two readings, up to 15 s apart, a live stream vouches for them."""
    venue.set_price(95_000)
    now = timezone.now()
    held = replace(client.rest.positions(), at=now - timedelta(seconds=14), confirmed_at=now)
    redis_client().flushdb()  # that the position was opened just now
    live_view().put_positions(account.pk, held)

    assert look(guard, long) == "confirmed"
