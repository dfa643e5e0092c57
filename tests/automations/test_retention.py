"""Executions go when they are old and many; what decisions depend on stays, however old it is."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import Account
from automations import journal, tasks
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from automations.retention import KEPT_COMPLETED, KEPT_FAILED, KEPT_FOR, prune_executions
from exchange.auth import Credentials

pytestmark = pytest.mark.django_db

NOW = timezone.now()
OLD = NOW - KEPT_FOR - timedelta(minutes=1)
TOP_UP = {"does": "add_margin", "amount_sats": 1000}
param = pytest.param


@pytest.fixture
def guard() -> MarginGuard:
    account = Account(owner=User.objects.create_user("owner"), name="first", network="paper")
    account.set_credentials(Credentials(key="key-1234", secret="s", passphrase="p"))
    account.save()
    return MarginGuard.objects.create(enabled=True, account=account, name="guard", metric="margin_used")


def written(of: MarginGuard, count: int = 1, **changes: Any) -> list[Execution]:
    """Write old executions that notified somebody."""
    fields: dict[str, Any] = {
        "account": of.account,
        "automation_id": of.pk,
        "position_id": "p1",
        "does": "notify",
        "why": "test",
        "origin": "sweep",
        "price": Decimal(95_000),
        "price_at": OLD,
        "state": "confirmed",
        "decided_at": OLD,
        "settled_at": OLD,
    }
    return Execution.objects.bulk_create(Execution(**(fields | changes)) for _ in range(count))


def buried(of: MarginGuard, **changes: Any) -> Execution:
    """Write one and, after it, as many others as are kept of each sort."""
    (execution,) = written(of, **changes)
    written(of, KEPT_COMPLETED, position_id="other")
    written(of, KEPT_FAILED, position_id="other", state="rejected")
    return execution


def is_kept(execution: Execution) -> bool:
    return Execution.objects.filter(pk=execution.pk).exists()


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        param("confirmed", KEPT_COMPLETED, id="completed"),
        param("shadow", KEPT_COMPLETED, id="would have been completed"),
        param("rejected", KEPT_FAILED, id="refused by the exchange"),
        param("not_sent", KEPT_FAILED, id="never sent"),
        param("not_applied", KEPT_FAILED, id="never applied"),
        param("quarantined", KEPT_FAILED, id="cannot be told"),
    ],
)
def test_the_last_ones_of_an_automation_are_kept_however_old(
    guard: MarginGuard, state: str, kept: int
) -> None:
    rows = written(guard, kept + 3, state=state)

    assert prune_executions(NOW) == 3

    assert list(Execution.objects.order_by("id")) == rows[3:]


def test_young_ones_are_kept_however_many_and_count_among_the_last(guard: MarginGuard) -> None:
    old = written(guard, 2)
    young = written(guard, KEPT_COMPLETED + 5, settled_at=NOW - KEPT_FOR + timedelta(minutes=1))

    assert prune_executions(NOW) == len(old)

    assert Execution.objects.count() == len(young)


def test_each_automation_has_its_own_last_ones(guard: MarginGuard) -> None:
    other = MarginGuard.objects.create(
        enabled=True, account=guard.account, name="other", metric="margin_used"
    )
    written(guard, KEPT_COMPLETED)
    written(other, KEPT_COMPLETED)

    assert prune_executions(NOW) == 0


@pytest.mark.parametrize(
    "changes",
    [
        param({"state": "intended", "settled_at": None}, id="intended"),
        param({"state": "sent", "settled_at": None}, id="sent"),
        param({"state": "unknown", "settled_at": None}, id="unknown"),
        param(TOP_UP, id="a top-up: the position's budget counts it for ever"),
        param(TOP_UP | {"state": "shadow"}, id="a shadow's top-up: its own budget counts it"),
        param(TOP_UP | {"state": "quarantined"}, id="a top-up that may have happened"),
        param({"does": "open_position"}, id="an entry's trade: it opens n times"),
        param({"does": "open_position", "state": "quarantined"}, id="a trade that may be open"),
        param({"does": "set_stoploss", "level": 90_000}, id="the stop it set last"),
        param({"does": "set_takeprofit", "level": 99_000}, id="the take profit it set last"),
        param({"does": "set_trailing", "distance": Decimal("0.01")}, id="the trailing stop set last"),
    ],
)
def test_what_decisions_depend_on_is_kept(guard: MarginGuard, changes: dict[str, Any]) -> None:
    execution = buried(guard, **changes)

    assert prune_executions(NOW) == 0

    assert is_kept(execution)


@pytest.mark.parametrize(
    "changes",
    [
        param({"does": "close_position"}, id="a close"),
        param(TOP_UP | {"state": "rejected"}, id="a top-up that was refused"),
        param({"does": "open_position", "state": "not_sent"}, id="a trade that was never opened"),
        param({"does": "set_stoploss", "level": 90_000, "state": "rejected"}, id="a refused stop"),
    ],
)
def test_what_has_no_weight_goes(guard: MarginGuard, changes: dict[str, Any]) -> None:
    execution = buried(guard, **changes)

    assert prune_executions(NOW) == 1

    assert not is_kept(execution)


def test_of_the_exits_set_on_a_position_only_the_last_is_kept(guard: MarginGuard) -> None:
    first, last = written(guard, 2, does="set_stoploss", level=Decimal(90_000))
    buried(guard, does="set_takeprofit", level=Decimal(99_000))

    assert prune_executions(NOW) == 1

    assert (is_kept(first), is_kept(last)) == (False, True)


@pytest.mark.parametrize("on", ["guard", "step"])
def test_what_somebody_still_rests_after_is_kept(guard: MarginGuard, on: str) -> None:
    rest_s = int(timedelta(days=365).total_seconds())
    step = guard.steps.create(
        threshold_percent=Decimal(50),
        does=GuardStep.Does.NOTIFY,
        cooldown_s=rest_s if on == "step" else None,
    )
    MarginGuard.objects.update(cooldown_s=rest_s if on == "guard" else 1)
    execution = buried(guard, step=step)

    assert prune_executions(NOW) == 0
    assert is_kept(execution)
    assert prune_executions(NOW + timedelta(days=400)) == 1
    assert not is_kept(execution)


def test_a_close_goes_together_with_what_followed_it(guard: MarginGuard) -> None:
    closed = buried(guard, does="reduce_position")
    (reopened,) = written(guard, does="open_position", follows=closed)

    prune_executions(NOW)
    assert is_kept(closed)

    written(guard, KEPT_COMPLETED)
    prune_executions(NOW)
    assert not is_kept(closed)
    assert not is_kept(reopened)


def test_the_journal_still_names_what_is_pruned(guard: MarginGuard) -> None:
    execution = buried(guard)
    with transaction.atomic():
        entry = journal.record(
            guard,
            journal.EXECUTED,
            message="told",
            data={"executionId": execution.pk},
            now=OLD,
            position_id="p1",
            execution=execution,
        )

    prune_executions(NOW)

    kept = JournalEntry.objects.get()
    assert not is_kept(execution)
    assert kept.execution_id == kept.data["executionId"] == execution.pk
    assert kept.hash == kept.computed_hash() == entry.hash


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_it_is_done_every_day(guard: MarginGuard) -> None:
    buried(guard)

    row = PeriodicTask.objects.get(task=tasks.prune_executions.name)

    assert row.enabled
    assert row.schedule.run_every == timedelta(days=1)
    assert tasks.prune_executions() == "1 pruned"
    assert tasks.prune_executions() == "0 pruned"
