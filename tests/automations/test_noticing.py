"""What changes a plan is noted by the database, whoever changes it, and read once."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from django.db import connection

from accounts.models import Account
from automations.models import (
    AutoEntry,
    Execution,
    GuardStep,
    MarginGuard,
    PlanChange,
    PositionThreshold,
    SpentStep,
    TakeProfitStopLoss,
)
from automations.noticing import PlanChanges
from exchange.auth import Credentials
from exchange.config import Network

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 8, 1, tzinfo=UTC)


@pytest.fixture
def exit_rule(account: Account) -> TakeProfitStopLoss:
    return TakeProfitStopLoss.objects.create(
        enabled=True, account=account, name="exit", does="close_tp", trigger_pnl_percentage=10
    )


@pytest.fixture
def entry(account: Account) -> AutoEntry:
    return AutoEntry.objects.create(enabled=True, account=account, name="entry", side="buy", quantity=1)


@pytest.fixture
def changes() -> PlanChanges:
    begun = PlanChanges()
    assert begun.read() is None, "at first anything may have changed"
    return begun


def execution(exit_rule: TakeProfitStopLoss, **fields: Any) -> Execution:
    usual = {
        "account_id": exit_rule.account_id, "automation_id": exit_rule.pk, "position_id": "p",
        "does": "set_stoploss", "level": 90_000, "origin": "tick", "price": 1, "price_at": NOW,
        "price_source": "rest", "state": "sent", "decided_at": NOW,
    }  # fmt: skip
    return Execution.objects.create(**usual | fields)


Change = Callable[[MarginGuard, TakeProfitStopLoss, AutoEntry], object]


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        pytest.param(lambda g, _x, _e: type(g).objects.update(enabled=False), True, id="switched off"),
        pytest.param(lambda g, _x, _e: type(g).objects.update(shadow=True), True, id="a shadow now"),
        pytest.param(
            lambda g, _x, _e: type(g).objects.update(metric="margin_ratio"), True, id="another metric"
        ),
        pytest.param(
            lambda g, _x, _e: g.steps.update(threshold_percent=60), True, id="another threshold"
        ),
        pytest.param(lambda g, _x, _e: g.steps.all().delete(), True, id="a step less"),
        pytest.param(
            lambda g, _x, _e: g.steps.create(threshold_percent=80, does="close_position"),
            True,
            id="a step more",
        ),
        pytest.param(
            lambda g, _x, _e: PositionThreshold.objects.create(
                step=g.steps.get(), position_id="p", threshold_percent=30
            ),
            True,
            id="a position's own threshold",
        ),
        pytest.param(
            lambda g, _x, _e: SpentStep.objects.create(
                step=g.steps.get(), position_id="p", acted_at=NOW
            ),
            True,
            id="a step that acted and waits now",
        ),
        pytest.param(
            lambda _g, x, _e: type(x).objects.update(trigger_pnl_percentage=11), True, id="an exit rule"
        ),
        pytest.param(lambda _g, _x, e: type(e).objects.update(trigger_price=9), True, id="an entry"),
        pytest.param(lambda _g, _x, e: e.delete(), True, id="an entry that is gone"),
        pytest.param(lambda _g, x, _e: execution(x, state="confirmed", settled_at=NOW), True, id="set"),
        pytest.param(
            lambda _g, x, _e: execution(x, state="quarantined", settled_at=NOW), True, id="maybe set"
        ),
        pytest.param(
            lambda g, _x, _e: g.quarantines.create(position_id="p", since=NOW, deliveries=3, why="w"),
            True,
            id="nobody looks any more",
        ),
        pytest.param(
            lambda _g, x, _e: x.disarmed_on.create(position_id="p", since=NOW, why="w"),
            True,
            id="its owner's hand won on a position",
        ),
        pytest.param(
            lambda _g, _x, _e: Account.objects.update(is_active=False), True, id="an account at rest"
        ),
        pytest.param(lambda _g, _x, _e: Account.objects.update(verified_at=None), True, id="suspended"),
        pytest.param(
            lambda _g, _x, _e: Account.objects.update(network=Network.SIGNET),
            True,
            id="another network",
        ),
        pytest.param(
            lambda _g, _x, _e: Account.objects.update(credentials_sealed="x"), True, id="another key"
        ),
        pytest.param(
            lambda _g, _x, _e: Account.objects.update(reserve_sats=5), False, id="the gates read that"
        ),
        pytest.param(lambda g, _x, _e: g.save(), False, id="saved as it was"),
        pytest.param(
            lambda g, _x, _e: type(g).objects.update(switch="halted"), False, id="the gates read it"
        ),
        pytest.param(lambda _g, x, _e: execution(x), False, id="an order on its way changes nothing"),
        pytest.param(
            lambda _g, x, _e: execution(
                x, does="close_position", level=None, state="confirmed", settled_at=NOW
            ),
            False,
            id="an action that the plan does not remember",
        ),
    ],
)
def test_what_matters_to_a_plan_is_told_and_nothing_else(
    *,
    change: Change,
    is_told: bool,
    guard: MarginGuard,
    exit_rule: TakeProfitStopLoss,
    entry: AutoEntry,
    account: Account,
) -> None:
    changes = PlanChanges()
    changes.read()

    change(guard, exit_rule, entry)

    assert changes.read() == ({account.pk} if is_told else set())
    assert changes.read() == set(), "each once"


def test_an_exit_is_told_when_it_is_confirmed_and_not_when_it_is_looked_at(
    changes: PlanChanges, exit_rule: TakeProfitStopLoss, account: Account
) -> None:
    sent = execution(exit_rule)
    changes.read()

    Execution.objects.filter(pk=sent.pk).update(state="confirmed", settled_at=NOW)
    assert changes.read() == {account.pk}
    Execution.objects.filter(pk=sent.pk).update(after={"margin": 1})
    assert changes.read() == set()
    Execution.objects.filter(pk=sent.pk).delete()
    assert changes.read() == {account.pk}


def test_all_accounts_of_a_change_to_many_are_told(changes: PlanChanges, guard: MarginGuard) -> None:
    other = Account(owner=guard.account.owner, name="other", network="paper")
    other.set_credentials(Credentials(key="k", secret="s", passphrase="p"))
    other.save()
    MarginGuard.objects.create(enabled=True, account=other, name="guard")
    changes.read()

    MarginGuard.objects.update(budget_per_day_sats=1)

    assert changes.read() == {guard.account_id, other.pk}


@pytest.fixture
def session() -> Iterator[psycopg2.extensions.connection]:
    """Another client of the database, in a transaction."""
    other = psycopg2.connect(**connection.get_connection_params())
    yield other
    other.close()


def test_a_transaction_that_commits_late_is_not_missed(
    changes: PlanChanges, guard: MarginGuard, session: psycopg2.extensions.connection
) -> None:
    """Its note has an older number than notes that were read before it could be seen."""
    changes.read()
    with session.cursor() as cursor:
        cursor.execute("UPDATE automations_guardstep SET cooldown_s = 55")
    for threshold in (60, 61):
        SpentStep.objects.create(step=guard.steps.get(), position_id=f"p{threshold}", acted_at=NOW)
        assert changes.read() == {guard.account_id}
        assert changes.read() == set(), "each once, also while another transaction runs"

    session.commit()

    assert changes.read() == {guard.account_id}
    assert changes.read() == set()


def test_a_change_that_was_taken_back_is_none(
    changes: PlanChanges,
    guard: MarginGuard,  # noqa: ARG001 - has a step
    session: psycopg2.extensions.connection,
) -> None:
    changes.read()
    with session.cursor() as cursor:
        cursor.execute("UPDATE automations_guardstep SET cooldown_s = 55")
    session.rollback()

    assert changes.read() == set()


def test_who_changes_a_plan_waits_for_nobody(
    guard: MarginGuard, session: psycopg2.extensions.connection
) -> None:
    """An open transaction that noted something of an account must hold back no other."""
    with session.cursor() as cursor:
        cursor.execute("UPDATE automations_guardstep SET cooldown_s = 55")
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
        SpentStep.objects.create(step=guard.steps.get(), position_id="p", acted_at=NOW)
        MarginGuard.objects.update(shadow=True)
        cursor.execute("RESET lock_timeout")


def test_who_did_not_look_for_long_takes_everything_as_changed(guard: MarginGuard) -> None:  # noqa: ARG001
    now_s = 0.0
    changes = PlanChanges(clock=lambda: now_s)
    assert changes.read() is None
    assert changes.read() == set()

    now_s = 3600.0

    assert changes.read() is None
    assert changes.read() == set()


def test_a_server_restored_from_a_copy_takes_everything_as_changed(changes: PlanChanges) -> None:
    changes.read()
    changes._horizon = 2**60  # noqa: SLF001 - a server whose numbers went back cannot be had here

    assert changes.read() is None
    assert changes.read() == set()


def test_old_notes_are_pruned(changes: PlanChanges, guard: MarginGuard) -> None:
    assert PlanChange.objects.exists()
    PlanChange.objects.update(changed_at=NOW)
    GuardStep.objects.update(threshold_percent=60)

    changes.prune()

    (left,) = PlanChange.objects.all()
    assert left.account_id == guard.account_id
