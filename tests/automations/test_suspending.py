"""Trouble with a key: one refusal suspends nobody, three in a row do, and it is verified again."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django.fixtures import Settings

from accounts import services as account_services
from accounts.gateway import admission
from accounts.models import Account
from automations import services, suspending, tasks
from automations.models import MarginGuard, Notification
from automations.services import due
from exchange.config import Network
from exchange.errors import TransientError
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    SWEEP,
    effects,
    events,
    held_elsewhere,
    look,
    move,
    states,
)
from tests.automations.conftest import new_account

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chain")]

RUNNING = "/v3/futures/isolated/trades/running"
EVERY = 10_000


class Clock:
    """The time at which keys are asked again, ahead of all that was written down before."""

    def __init__(self) -> None:
        self.moment = timezone.now()

    def __call__(self) -> datetime:
        return self.moment

    def ask_after(self, seconds: float) -> int:
        """Let so much time pass, then ask; return how many keys were asked."""
        self.moment = max(self.moment, timezone.now()) + timedelta(seconds=seconds)
        return suspending.ask_again(clock=self)

    def ask_when_due(self, account: Account) -> None:
        """See that nobody asks before it is time, then ask."""
        due_at = stored(account).recheck_at
        assert due_at is not None
        self.moment = due_at - timedelta(milliseconds=1)
        assert suspending.ask_again(clock=self) == 0
        self.moment = due_at
        assert suspending.ask_again(clock=self) == 1

    def wait_s(self, account: Account) -> float:
        """Return the seconds until the key is asked again."""
        due_at = stored(account).recheck_at
        assert due_at is not None
        return (due_at - self.moment).total_seconds()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refuse(venue: Simulator, account: int = 0, *, status: int = 401, times: int = EVERY) -> None:
    key = venue.accounts[account].credentials.key
    venue.fault("status", status=status, account=key, next=times)


def stored(account: Account) -> Account:
    return Account.objects.get(pk=account.pk)


def test_one_401_in_the_middle_of_a_top_up_suspends_nobody_and_the_position_is_saved(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=401, path=ADD_MARGIN)

    with pytest.raises(TransientError, match="refused the key"):  # whoever asked looks again
        look(guard, long)
    assert stored(account).may_act
    assert look(guard, long) == "confirmed"

    assert states() == ["not_sent", "confirmed"]
    assert effects(venue) == 1
    assert clock.ask_after(2) == 1
    assert stored(account).refusals == 0
    assert clock.ask_after(3600) == 0, "nothing is in doubt any more"
    assert "key_refused" not in events()


def test_one_401_to_a_reading_suspends_nobody_and_the_position_is_saved(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=401, path=RUNNING)

    with pytest.raises(TransientError, match="refused the key"):
        look(guard, long)
    assert look(guard, long) == "confirmed"

    assert effects(venue) == 1
    assert stored(account).may_act


def test_one_401_to_a_sweep_suspends_nobody_and_the_next_sweep_finds_the_position(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=401, path=RUNNING)

    assert list(due(MarginGuard)) == []
    assert [(each.automation_id, each.position_id) for each in due(MarginGuard)] == [
        (guard.pk, long.id)
    ]
    assert stored(account).may_act


def test_a_key_is_asked_again_after_2_s_and_10_s_and_the_third_refusal_in_a_row_suspends(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    move(venue, 95_000)
    refuse(venue)
    for _ in range(5):  # refusals meanwhile neither count nor hurry
        with pytest.raises(TransientError):
            look(guard, long)

    assert clock.wait_s(account) == pytest.approx(2, abs=1.5)
    clock.ask_when_due(account)
    assert (stored(account).may_act, stored(account).refusals) == (True, 2)
    assert clock.wait_s(account) == 10
    clock.ask_when_due(account)

    suspended = stored(account)
    assert not suspended.may_act
    assert "401" in suspended.fault
    assert events() == ["key_refused"]
    assert services.act(guard.pk, long.id, SWEEP)["status"].endswith("its account may not act")


def test_an_answer_in_between_clears_the_count(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    for _ in range(3):
        suspending.note_refusal(account, "refused")
        refuse(venue, times=1)
        assert clock.ask_after(2) == 1
        assert stored(account).refusals == 2
        assert clock.ask_after(10) == 1
        assert stored(account).refusals == 0

    assert stored(account).may_act
    assert events() == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "status", "status": 503}, id="it is away"),
        pytest.param({"kind": "drop"}, id="it does not answer"),
    ],
)
def test_no_answer_says_nothing_about_the_key(
    venue: Simulator, account: Account, clock: Clock, fault: dict[str, object]
) -> None:
    suspending.note_refusal(account, "refused")
    venue.fault(fault.pop("kind"), path=RUNNING, next=3, **fault)  # type: ignore[arg-type]

    assert clock.ask_after(2) == 1

    assert (stored(account).may_act, stored(account).refusals) == (True, 1)
    assert clock.ask_after(2) == 1, "it is asked once more"
    assert stored(account).refusals == 0


def test_a_403_to_one_action_is_its_refusal_and_doubts_no_key(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=403, path=ADD_MARGIN)

    assert look(guard, long) == "rejected"

    assert stored(account).may_act
    assert clock.ask_after(3600) == 0


def test_a_key_that_may_read_nothing_any_more_is_suspended_by_the_third_403(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    move(venue, 95_000)
    refuse(venue, status=403)
    with pytest.raises(TransientError):
        look(guard, long)
    assert stored(account).may_act

    clock.ask_after(2)
    clock.ask_after(10)

    assert not stored(account).may_act
    assert "does not allow" in stored(account).fault


def suspended(venue: Simulator, account: Account, clock: Clock) -> None:
    refuse(venue)
    suspending.note_refusal(account, "refused")
    clock.ask_after(2)
    clock.ask_after(10)
    assert not stored(account).may_act


def test_a_suspended_account_is_verified_again_by_itself_every_5_minutes_and_acts_again(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    suspended(venue, account, clock)
    clock.ask_when_due(account)
    assert clock.wait_s(account) == 300
    assert not stored(account).may_act
    venue.clear_faults()
    clock.ask_when_due(account)

    assert stored(account).may_act
    assert stored(account).fault == ""
    assert clock.ask_after(3600) == 0
    assert events() == ["key_refused", "key_accepted"]
    told = [each.subject for each in Notification.objects.order_by("id")]
    assert [each.partition(": ")[2] for each in told] == [
        "suspended, for the exchange refused the key",
        "the exchange accepts the key again",
    ]
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"


def test_a_test_by_a_person_that_failed_for_a_moment_is_made_again_by_itself(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    Account.objects.update(verified_at=None)
    venue.fault("status", status=500, path="/v3/account", next=3)
    assert isinstance(account_services.verify(account), account_services.NotVerified)
    assert not stored(account).may_act

    assert clock.ask_after(30) == 1

    assert stored(account).may_act


def test_a_test_by_a_person_during_a_503_suspends_no_account_that_acts(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account, clock: Clock
) -> None:
    venue.fault("status", status=503, next=3)
    assert isinstance(account_services.verify(account), account_services.NotVerified)
    venue.clear_faults()

    assert stored(account).may_act
    assert clock.ask_after(3600) == 0
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"


def test_a_key_that_a_person_finds_refused_is_suspended_once_that_is_confirmed(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    refuse(venue)
    assert isinstance(account_services.verify(account), account_services.NotVerified)
    assert stored(account).may_act

    assert clock.ask_after(2) == 1
    assert clock.ask_after(10) == 1

    assert not stored(account).may_act
    assert events() == ["key_refused"]


def test_an_account_that_nobody_tested_is_tested_by_itself(account: Account, clock: Clock) -> None:
    Account.objects.update(verified_at=None)

    assert clock.ask_after(0) == 0, "whoever entered it is about to"
    assert clock.ask_after(30) == 1

    assert stored(account).may_act


def test_a_person_who_tests_the_connection_meanwhile_is_right(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    suspended(venue, account, clock)
    venue.clear_faults()

    assert isinstance(account_services.verify(stored(account)), account_services.Verified)

    assert stored(account).may_act
    assert clock.ask_after(3600) == 0


def test_nothing_is_said_about_credentials_that_were_entered_meanwhile(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    old = stored(account)
    account.set_credentials(venue.accounts[1].credentials)
    account.verified_at = timezone.now()
    account.save()

    suspending.note_refusal(old, "the old key is refused")
    suspending.suspend(old, "the old key is refused")

    assert (stored(account).may_act, stored(account).refusals) == (True, 0)
    assert clock.ask_after(3600) == 0
    assert events() == []


def test_an_account_that_its_owner_switched_off_is_not_asked_about(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    suspended(venue, account, clock)
    Account.objects.update(is_active=False)

    assert clock.ask_after(3600) == 0


def test_a_seal_that_is_broken_suspends_nobody_and_holds_up_no_other(
    venue: Simulator, account: Account, clock: Clock
) -> None:
    other = new_account(venue, 1)
    for each in (account, other):
        suspending.note_refusal(each, "refused")
    Account.objects.filter(pk=account.pk).update(credentials_sealed="broken")

    assert clock.ask_after(2) == 2

    assert stored(account).refusals == 1
    assert stored(other).refusals == 0


def test_where_no_more_may_sign_in_now_it_is_verified_a_little_later(
    venue: Simulator,
    account: Account,
    clock: Clock,
    settings: Settings,
) -> None:
    suspended(venue, account, clock)
    venue.clear_faults()
    settings.STREAM_AUTHENTICATIONS_PER_MINUTE = 1
    assert admission(Network.PAPER).wait_s(authenticates=True) == 0

    assert clock.ask_after(300) == 1

    assert 0 < clock.wait_s(account) < 120


@pytest.mark.django_db(transaction=True)
def test_one_process_at_a_time_asks(account: Account, clock: Clock) -> None:
    suspending.note_refusal(account, "refused")

    with held_elsewhere("asking about refused keys"):
        assert clock.ask_after(2) == 0
    assert clock.ask_after(0) == 1


def test_beat_has_keys_asked_again_every_2_s() -> None:
    scheduled = PeriodicTask.objects.get(task=tasks.ask_again.name)
    assert scheduled.enabled
    assert str(scheduled.interval) == "every 2 seconds"
    assert tasks.ask_again() == "0 asked"
