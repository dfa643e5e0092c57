"""Statements that are built once say what Django's own say."""

from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    GuardStep,
    MarginGuard,
    PositionThreshold,
    Quarantine,
    TakeProfitStopLoss,
)
from automations.models.compiled import Compiled, insert, update
from automations.models.kinds import find, find_acting
from exchange.position import PositionId

pytestmark = pytest.mark.django_db
HERE, THERE = PositionId("here"), PositionId("there")


def values(row: object) -> dict[str, object]:
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


@pytest.fixture
def ladder(guard: MarginGuard) -> MarginGuard:
    """A guard with two steps, the first with thresholds of its own on two positions."""
    first = guard.steps.get()
    guard.steps.create(threshold_percent=90, does=GuardStep.Does.CLOSE)
    for position_id, percent in ((HERE, "40.5"), (THERE, "60")):
        PositionThreshold.objects.create(
            step=first, position_id=position_id, threshold_percent=Decimal(percent)
        )
    return guard


def test_a_guard_is_found_as_django_finds_it(ladder: MarginGuard) -> None:
    by_django = MarginGuard.acting().get(pk=ladder.pk)

    found = find_acting(ladder.pk, HERE)

    assert isinstance(found, MarginGuard)
    assert values(found) == values(by_django)
    assert values(found.account) == values(by_django.account)
    assert [values(step) for step in found.steps.all()] == [
        values(step) for step in by_django.steps.all()
    ]
    for position_id in (HERE, THERE, None):
        assert found.rule(position_id) == by_django.rule(position_id)


def test_what_was_found_asks_no_more(
    ladder: MarginGuard, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    find_acting(ladder.pk, HERE)  # prepares the statements

    with django_assert_num_queries(3):
        found = find_acting(ladder.pk, HERE)
        assert isinstance(found, MarginGuard)
        found.rule(HERE)
        str(found.account)


def test_every_kind_is_found_as_itself(account: Account, guard: MarginGuard) -> None:
    exit_rule = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="exit",
        trigger_pnl_percentage=10,
        when="profit",
        does="close_tp",
    )
    entry = AutoEntry.objects.create(
        enabled=True,
        account=account,
        name="entry",
        side="buy",
        quantity=1,
        leverage=10,
        trigger_price=1000,
    )

    for made in (guard, exit_rule, entry):
        assert type(find(made.pk)) is type(made)
        assert type(find_acting(made.pk, HERE)) is type(made)
    assert find(10**9) is None


@pytest.mark.parametrize(
    ("where", "may_look"),
    [
        pytest.param("here", False, id="there"),
        pytest.param("elsewhere", True, id="on another position"),
    ],
)
def test_what_is_quarantined_is_not_found(guard: MarginGuard, where: str, *, may_look: bool) -> None:
    Quarantine.objects.create(
        automation=guard, position_id=where, since=timezone.now(), deliveries=3, why="tested"
    )

    assert (find_acting(guard.pk, HERE) is not None) is may_look


def test_what_is_switched_off_is_not_found(guard: MarginGuard) -> None:
    assert find_acting(guard.pk, HERE)

    Automation.objects.filter(pk=guard.pk).update(enabled=False)

    assert find_acting(guard.pk, HERE) is None


def test_the_same_statement_takes_other_arguments_each_time(guard: MarginGuard) -> None:
    of_guard = Compiled[GuardStep](
        lambda guard, least: GuardStep.objects.filter(guard=guard, pk__gte=least), int, int
    )
    step = guard.steps.get()

    assert of_guard(guard.pk, 0) == [step]
    assert of_guard(guard.pk, step.pk + 1) == []
    assert of_guard(guard.pk + 1, 0) == []


def test_an_argument_that_gets_lost_is_a_fault_of_ours() -> None:
    constant = Compiled[GuardStep](lambda guard: GuardStep.objects.filter(guard=guard and 1), int)

    with pytest.raises(TypeError, match="does not come out of it"):
        constant(1)


def intended(guard: MarginGuard, position_id: str) -> Execution:
    now = timezone.now()
    return Execution(
        account_id=guard.account_id,
        automation_id=guard.pk,
        position_id=position_id,
        does=Execution.Does.ADD_MARGIN,
        amount_sats=1000,
        why="tested",
        origin=Execution.Origin.TICK,
        tick_price=Decimal("95000.5"),
        price=Decimal(95_000),
        price_at=now,
        price_source="stream",
        before={"margin": 100_000, "balance": None},
        decided_at=now,
    )


def test_rows_are_written_as_django_writes_them(guard: MarginGuard) -> None:
    ours, by_django = [intended(guard, "1"), intended(guard, "2")], intended(guard, "3")

    insert(ours)
    by_django.save(force_insert=True)

    assert len({row.pk for row in (*ours, by_django)}) == 3
    for row in ours:
        stored = Execution.objects.get(pk=row.pk)
        assert values(stored) == values(row)
        own = {"id", "position_id", "decided_at", "price_at"}
        assert {k: v for k, v in values(stored).items() if k not in own} == {
            k: v for k, v in values(Execution.objects.get(pk=by_django.pk)).items() if k not in own
        }


def test_only_the_named_fields_are_written(guard: MarginGuard) -> None:
    row = intended(guard, "1")
    insert([row])

    row.error, row.after, row.report, row.why = "said", {"margin": 1}, {"status": "error"}, "kept"
    update(row, "error", "after", "report")

    stored = Execution.objects.get(pk=row.pk)
    assert (stored.error, stored.after, stored.report) == ("said", {"margin": 1}, {"status": "error"})
    assert stored.why == "tested"
