"""What a sweep of many accounts costs: the number of questions does not grow with them."""

import re
from collections.abc import Callable, Iterator

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.gateway import client_for, live_view
from accounts.models import Account
from automations import services
from automations.models import AutoEntry, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind
from exchange.simulator.running import Simulator
from tests.automations.acting import enter, move
from tests.automations.asking import heard
from tests.automations.conftest import new_account, open_long

ACCOUNTS = 3
OF_EACH = 2


def add_guard(account: Account, number: int) -> None:
    guard = MarginGuard.objects.create(enabled=True, account=account, name=f"guard {number}")
    step = guard.steps.create(threshold_percent=50, does="close_position")
    step.position_thresholds.create(position_id="another", threshold_percent=40)


def add_exit(account: Account, number: int) -> None:
    TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name=f"exit {number}",
        does="close_sl",
        when="loss",
        trigger_pnl_percentage=50,
        on_exchange=False,
    )


def add_entry(account: Account, number: int) -> None:
    AutoEntry.objects.create(
        enabled=True,
        account=account,
        name=f"entry {number}",
        side="buy",
        quantity=1,
        trigger_price=95_000,
    )


KINDS = pytest.mark.parametrize(
    ("kind", "add", "asked"),
    [
        pytest.param(
            MarginGuard,
            add_guard,
            [
                *("account", "marginguard", "guardstep", "positionthreshold"),
                *("spentstep", "execution", "quarantine"),
            ],
            id="guards",
        ),
        pytest.param(
            TakeProfitStopLoss,
            add_exit,
            ["account", "takeprofitstoploss", "execution", "exitdisarmed", "quarantine"],
            id="exits",
        ),
        pytest.param(
            AutoEntry,
            add_entry,
            ["execution", "account", "autoentry", "quarantine", "automation"],
            id="entries",
        ),
    ],
)
"""And which tables are asked, one after the other; entries first for orders whose time is over."""


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator(accounts=ACCOUNTS) as simulator:
        yield simulator


@pytest.fixture
def accounts(db: None, paper: Simulator) -> list[int]:  # noqa: ARG001
    """Accounts that each hold a long, which a fall to 95,000 costs more than half of its margin."""
    made = [new_account(paper, number) for number in range(ACCOUNTS)]
    for account in made:
        open_long(client_for(account))
    return [account.pk for account in made]


def tables(queries: CaptureQueriesContext) -> list[str]:
    found = (re.search(r'FROM "?(?:automations|accounts)_(\w+)', each["sql"]) for each in queries)
    return [match[1] for match in found if match]


@KINDS
def test_the_database_is_asked_no_more_for_many_than_for_one(
    accounts: list[int],
    venue: Simulator,
    *,
    kind: type[Kind],
    add: Callable[[Account, int], None],
    asked: list[str],
) -> None:
    for account in Account.objects.all():
        for number in range(OF_EACH):
            add(account, number)
    move(venue, 95_000)

    for some in (accounts[:1], accounts):
        with CaptureQueriesContext(connection) as queries:
            assert len(list(services.due(kind, some))) == len(some) * OF_EACH
        assert tables(queries) == asked


@KINDS
def test_all_accounts_are_looked_up_in_the_live_view_at_once(
    accounts: list[int],
    venue: Simulator,
    *,
    kind: type[Kind],
    add: Callable[[Account, int], None],
    asked: list[str],  # noqa: ARG001
) -> None:
    for account in Account.objects.all():
        add(account, 0)
    move(venue, 95_000)
    for account in Account.objects.all():
        client_for(account).snapshot(5)  # as the stream process leaves it

    with redis.Redis.from_url(settings.REDIS_URL) as other, other.monitor() as commands:
        assert len(list(services.due(kind, accounts))) == len(accounts)
        assert heard(commands) == ["MGET"]


def test_an_account_that_is_not_fresh_is_read_alone(accounts: list[int], venue: Simulator) -> None:
    for account in Account.objects.all():
        add_guard(account, 0)
    move(venue, 95_000)
    for account in Account.objects.exclude(pk=accounts[1]):
        client_for(account).snapshot(5)
    asked = [("paper", account) for account in accounts]
    before = live_view().read_all(asked)
    assert [view.positions is None for view in before] == [False, True, False]

    assert len(list(services.due(MarginGuard, accounts))) == len(accounts)

    after = live_view().read_all(asked)
    assert [view.positions is None for view in after] == [False] * ACCOUNTS
    assert [now == then for now, then in zip(after, before, strict=True)] == [True, False, True]


def test_an_entry_whose_time_is_over_is_disarmed_also_where_its_price_never_came(
    accounts: list[int],
) -> None:
    for number, pk in enumerate(accounts):
        add_entry(Account.objects.get(pk=pk), number)
    AutoEntry.objects.filter(account=accounts[1]).update(expires_at=timezone.now())

    assert list(services.due(AutoEntry)) == []

    assert list(AutoEntry.objects.order_by("account").values_list("enabled", flat=True)) == [
        True,
        False,
        True,
    ]


def test_an_entry_that_opened_a_moment_ago_is_not_due_and_stays_armed(
    accounts: list[int], venue: Simulator
) -> None:
    for number, pk in enumerate(accounts):
        add_entry(Account.objects.get(pk=pk), number)
    AutoEntry.objects.update(most_times=2, cooldown_s=1)
    move(venue, 95_000)
    opened, *others = AutoEntry.objects.order_by("account")

    assert enter(opened)["status"] == "completed"

    assert [due.automation_id for due in services.due(AutoEntry)] == [each.pk for each in others]
    assert AutoEntry.objects.filter(enabled=True).count() == ACCOUNTS
