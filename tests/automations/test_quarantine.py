"""Looks that do not end: counted, quarantined after so many in a row, released by a person."""

import contextlib
from collections.abc import Callable

import psycopg2
import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import DatabaseError, OperationalError, connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from kombu.exceptions import OperationalError as QueueError
from pytest_django.fixtures import Settings
from redis.exceptions import OutOfMemoryError, ResponseError

from accounts.crypto import SealBrokenError
from accounts.gateway import redis_client
from automations import planning, quarantine, services
from automations.models import (
    AutoEntry,
    GuardStep,
    JournalEntry,
    MarginGuard,
    Notification,
    Quarantine,
)
from automations.models.kinds import find_acting
from exchange.client import Client
from exchange.errors import ExchangeError, TransientError
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, effects, enter, events, look, move
from tests.automations.asking import is_asked, text_of
from tests.automations.conftest import open_long
from tests.automations.typing_in import text

LIST = "admin:automations_quarantine_changelist"


@pytest.fixture
def poison(guard: MarginGuard) -> MarginGuard:
    """A guard whose numbers contradict each other: no form lets them pass, but a script may."""
    spoil(guard)
    return guard


def spoil(guard: MarginGuard) -> None:
    MarginGuard.objects.filter(pk=guard.pk).update(metric="liquidation_distance")
    GuardStep.objects.filter(guard=guard).update(threshold_percent=100)


def heal(guard: MarginGuard) -> None:
    MarginGuard.objects.filter(pk=guard.pk).update(metric="margin_used")
    GuardStep.objects.filter(guard=guard).update(threshold_percent=50)


def look_in_vain(guard: MarginGuard, position: Position, *, times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="threshold"):
            look(guard, position)


def counted(guard: MarginGuard, position: Position) -> int:
    return int(redis_client().get(quarantine.key(guard.pk, position.id)) or 0)


def test_three_looks_that_did_not_end_are_the_last(
    long: Position, poison: MarginGuard, caplog: pytest.LogCaptureFixture
) -> None:
    look_in_vain(poison, long)

    assert look(poison, long) == "quarantined"

    row = Quarantine.objects.get()
    assert (row.automation_id, row.position_id, row.deliveries) == (poison.pk, long.id, 3)
    assert events() == ["margin_guard_quarantined"]
    (said,) = [record for record in caplog.records if record.getMessage() == "quarantined"]
    assert (said.levelname, vars(said)["account_name"]) == ("ERROR", poison.account.name)
    assert "guard: stopped on a position" in Notification.objects.get().subject


def test_nobody_looks_at_what_is_quarantined_even_after_redis_forgot(
    venue: Simulator, long: Position, poison: MarginGuard
) -> None:
    look_in_vain(poison, long)
    look(poison, long)
    heal(poison)
    move(venue, 95_000)

    assert look(poison, long) == "disabled, quarantined, or its account may not act"

    assert effects(venue) == 0
    assert Quarantine.objects.count() == len(events()) == 1


def test_how_many_is_a_setting(long: Position, poison: MarginGuard, settings: Settings) -> None:
    settings.TASK_DELIVERIES = 1

    look_in_vain(poison, long, times=1)

    assert look(poison, long) == "quarantined"


def test_another_position_and_another_guard_go_on(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    other = open_long(client)
    second = MarginGuard.objects.create(enabled=True, account=guard.account, name="second")
    second.steps.create(threshold_percent=50, does="close_position")
    quarantine.quarantine(guard, long.id, deliveries=3)
    venue.set_price(95_000)

    assert look(guard, other) == "confirmed"
    assert look(second, long) == "confirmed"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(None, None, id="a word"),
        pytest.param(503, TransientError, id="may be tried again"),
        pytest.param(400, None, id="refused"),
        pytest.param(504, None, id="unknown"),
    ],
)
def test_a_look_with_an_end_that_one_may_expect_does_not_count(
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    status: int | None,
    error: type[ExchangeError] | None,
) -> None:
    venue.set_price(95_000)
    if status is not None:
        venue.fault("status", status=status, path=ADD_MARGIN)

    with pytest.raises(error) if error else contextlib.nullcontext():
        look(guard, long)

    assert counted(guard, long) == 0


def broken_off(text: str) -> DatabaseError:
    """As Django passes it on when the server dies while it answers."""
    error = DatabaseError(text)
    error.__cause__ = psycopg2.DatabaseError("server closed the connection unexpectedly")
    return error


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        pytest.param(OperationalError, False, id="the database went away"),
        pytest.param(broken_off, False, id="it broke off in the middle"),
        pytest.param(ConnectionError, False, id="Redis went away"),
        pytest.param(OutOfMemoryError, False, id="Redis takes nothing"),
        pytest.param(QueueError, False, id="the queue went away"),
        pytest.param(ResponseError, True, id="a command that Redis never understands"),
        pytest.param(SealBrokenError, False, id="the credentials cannot be opened"),
        pytest.param(KeyError, True, id="a fault of ours"),
    ],
)
def test_what_says_nothing_about_the_look_does_not_count(
    redis_url: str,  # noqa: ARG001 - asked for its effect
    guard: MarginGuard,
    error: Callable[[str], Exception],
    *,
    counts: bool,
) -> None:
    raised = error("for the test")

    with pytest.raises(type(raised)), quarantine.counted(guard, None):
        raise raised

    assert redis_client().exists(quarantine.key(guard.pk, None)) == counts


def test_one_look_that_ends_makes_up_for_those_before(long: Position, poison: MarginGuard) -> None:
    look_in_vain(poison, long, times=2)
    assert counted(poison, long) == 2
    heal(poison)
    look(poison, long)
    spoil(poison)

    look_in_vain(poison, long)

    assert counted(poison, long) == 3
    assert not Quarantine.objects.exists()


def test_a_count_does_not_stay_for_ever(long: Position, poison: MarginGuard) -> None:
    look_in_vain(poison, long, times=1)

    left_s = redis_client().ttl(quarantine.key(poison.pk, long.id))

    assert 0 < left_s <= quarantine.EXPIRES_S


@pytest.mark.usefixtures("without_redis")
def test_without_redis_nothing_is_counted_and_nothing_is_stopped(
    long: Position, poison: MarginGuard
) -> None:
    look_in_vain(poison, long, times=5)

    assert not Quarantine.objects.exists()


def test_the_query_that_finds_an_automation_asks_for_its_quarantine(
    long: Position, guard: MarginGuard
) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert find_acting(guard.pk, long.id) == guard
    quarantine.quarantine(guard, long.id, deliveries=3)

    asked = [text_of(each["sql"]) for each in queries.captured_queries if is_asked(each["sql"])]
    asking = [text for text in asked if "quarantine" in text]
    assert len(asking) == 1
    assert 'FROM "automations_marginguard"' in asking[0], "no question of its own"
    assert find_acting(guard.pk, long.id) is None
    assert find_acting(guard.pk, PositionId("another")) == guard


def test_the_sweep_leaves_out_what_is_quarantined(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    other = open_long(client)
    quarantine.quarantine(guard, long.id, deliveries=3)
    move(venue, 95_000)

    assert [due.position_id for due in services.due(MarginGuard)] == [other.id]


def test_no_trigger_is_armed_for_what_is_quarantined(
    client: Client, long: Position, guard: MarginGuard
) -> None:
    other = open_long(client)
    quarantine.quarantine(guard, long.id, deliveries=3)

    ((plan,),) = planning.plans_of_all(list(planning.acting([guard.account_id]).values()))

    assert isinstance(plan, planning.PositionPlan)
    assert plan.levels(long) == ()
    assert plan.levels(other) != ()


def test_an_entry_is_quarantined_without_a_position(guard: MarginGuard) -> None:
    entry = AutoEntry.objects.create(
        enabled=True, account=guard.account, name="e", side="buy", quantity=100
    )
    quarantine.quarantine(entry, None, deliveries=3)

    assert "quarantined" in enter(entry)["status"]
    assert list(services.due(AutoEntry)) == []
    ((automation,),) = planning.acting([guard.account_id]).values()
    assert automation == guard
    assert str(Quarantine.objects.get()) == "e on a new position"


def released(browser: Browser) -> list[str]:
    rows = list(Quarantine.objects.values_list("pk", flat=True))
    answer = browser.post(reverse(LIST), {"action": "release", "_selected_action": rows})
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_a_person_releases_it_and_the_journal_says_who(
    browser: Browser, venue: Simulator, long: Position, poison: MarginGuard
) -> None:
    look_in_vain(poison, long)
    look(poison, long)
    heal(poison)
    venue.set_price(95_000)

    assert long.id in text(browser.get(reverse(LIST)))
    assert released(browser) == ["1 released."]

    assert not Quarantine.objects.exists()
    entry = JournalEntry.objects.latest("id")
    assert (entry.event, entry.data["by"]) == ("margin_guard_released", "root")
    assert counted(poison, long) == 0, "it begins anew"


def test_what_is_released_is_looked_at_again(
    browser: Browser, venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    quarantine.quarantine(guard, long.id, deliveries=3)
    venue.set_price(95_000)

    released(browser)

    assert look(guard, long) == "confirmed"


def test_who_may_only_look_releases_nothing(long: Position, guard: MarginGuard) -> None:
    quarantine.quarantine(guard, long.id, deliveries=3)
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_quarantine"))
    browser = Browser()
    browser.force_login(looker)

    released(browser)

    assert Quarantine.objects.exists()
