"""What owners are told: written beside the entry of the journal that it is about, or not at all."""

import os
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import transaction
from django.utils import timezone

from accounts.models import Account
from automations import delivering, journal, reading_back, reconciling, suspending, tasks
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    GuardStep,
    JournalEntry,
    MarginGuard,
    Notification,
    TakeProfitStopLoss,
)
from exchange.client import Client
from exchange.errors import TransientError
from exchange.money import Sats
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    CLOSE,
    ISOLATED,
    ask_keys_again,
    enter,
    events,
    long_ago,
    look,
    move,
    rest_until_ready,
)
from tests.automations.conftest import open_long
from tests.automations.queues import waiting

_HOUR = timedelta(hours=1)


def told() -> list[str]:
    """Return the subjects, the oldest first, without what all have in common."""
    found = Notification.objects.order_by("id").values_list("subject", flat=True)
    return [subject.removeprefix("[hubdefisats] account 0: ") for subject in found]


def test_an_action_is_told_in_plain_sentences(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)

    look(guard, long)

    told = Notification.objects.get()
    assert told.subject == "[hubdefisats] account 0: guard: add margin"
    assert told.entry.event == "margin_guard_executed"
    first, why, *others, last = told.text.split("\n")
    assert first == (
        f"“guard” added 20,000 sats to position {long.id} on your account “account 0” (paper),"
        " which stays protected."
    )
    assert why.startswith("Why: margin used ")
    assert others == [
        "Price: 95,000.",
        "Before: margin 100,000 sats, liquidation at 90,909.",
        "After: margin 120,000 sats, liquidation at 89,285.5.",
    ]
    assert last.endswith(f"UTC, journal entry {told.entry_id}.")


def test_no_notification_holds_a_secret(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    credentials = account.credentials()
    venue.fault("status", status=400, path=ADD_MARGIN)
    look(guard, long)
    rest_until_ready(guard)
    venue.fault("status", status=401, account=credentials.key, next=10)
    with pytest.raises(TransientError):
        look(guard, long)
    ask_keys_again()

    assert len(told()) == 2
    for notification in Notification.objects.all():
        said = notification.subject + notification.text
        for secret in (credentials.key, credentials.secret, credentials.passphrase):
            assert secret not in said


def test_a_step_that_only_notifies_is_told_as_a_warning(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.NOTIFY, amount_sats=None)
    move(venue, 95_000)

    look(guard, long)

    assert told() == ["guard: warning"]


def test_a_position_that_is_closed_is_told(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.CLOSE, amount_sats=None)
    move(venue, 95_000)

    look(guard, long)

    assert told() == ["guard: close position"]
    message = Notification.objects.get()
    first, _, _, closed, *_ = message.text.split("\n")
    assert first.endswith("(paper): nothing of it is at risk any more.")
    assert closed == (
        "Closed: exit at 95,000, realised -52,632 sats before fees,"
        " fees 2,052 sats (opening 1,000, closing 1,052, funding 0)."
    )
    assert message.next_attempt_at == message.made_at, "it waits for nothing more"


def test_an_entry_that_opens_is_told(venue: Simulator, account: Account) -> None:
    entry = AutoEntry.objects.create(
        enabled=True, account=account, name="entry", side="buy", quantity=100
    )

    enter(entry)

    assert told() == ["entry: open position"]
    assert venue.writes()[-1].applied


def test_a_moved_exit_is_told_once_an_hour(venue: Simulator, long: Position, account: Account) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="exits",
        does="update_sl",
        trigger_pnl_percentage=Decimal(1),
        when="profit",
        level="from_market",
        distance_percent=Decimal(2),
        on_exchange=False,
        cooldown_s=1,
    )
    for price in (105_000, 107_000):
        move(venue, price)
        assert look(exits, long) == "confirmed"
        rest_until_ready(exits)

    assert told() == ["exits: set stop loss"] * 2
    assert Notification.objects.latest("id").next_attempt_at > timezone.now() + _HOUR / 2
    Notification.objects.update(made_at=timezone.now() - 2 * _HOUR)
    move(venue, 109_000)
    assert look(exits, long) == "confirmed"

    assert len(told()) == 3


def test_a_refusal_by_the_exchange_is_told_for_each_position(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    other = open_long(client)
    move(venue, 95_000)
    venue.fault("status", status=400, path=ADD_MARGIN, next=3)

    for position in (long, other):
        assert look(guard, position) == "rejected"

    assert told() == ["guard: refused by the exchange: add margin"] * 2
    assert "400" in Notification.objects.latest("id").text
    assert not Notification.objects.filter(next_attempt_at__gt=timezone.now()).exists()


def test_13_repetitions_are_joined_into_one_message_with_a_count_and_never_the_first(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=400, path=ADD_MARGIN, next=5)

    for _ in range(5):
        assert look(guard, long) == "rejected"
        rest_until_ready(guard)

    first, collects = Notification.objects.order_by("id")
    assert (first.count, collects.count) == (0, 4)
    assert first.next_attempt_at == first.made_at
    assert collects.next_attempt_at >= timezone.now() + timedelta(minutes=9)
    since = f"{collects.made_at:%Y-%m-%d %H:%M:%S} UTC"
    assert collects.subject.endswith(f": add margin (4 times since {since})")
    assert collects.entry == JournalEntry.objects.filter(event="margin_guard_rejected").latest("id")
    assert delivering.deliver_due() == 1
    Notification.objects.update(next_attempt_at=timezone.now())
    assert delivering.deliver_due() == 1


def test_what_reached_the_exchange_without_an_answer_is_told_once_it_is_proven(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 94_000)
    venue.fault("lost_answer", path=ADD_MARGIN)

    look(guard, long)

    assert told() == ["guard: add margin, as the exchange shows"]


def test_13_a_close_that_is_proven_is_told_with_its_exit_too(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.CLOSE, amount_sats=None)
    move(venue, 95_000)
    venue.fault("lost_answer", path=CLOSE)
    assert look(guard, long) == "unknown"

    tasks.reconcile()
    reading_back.read_back(Execution.objects.get().pk)

    assert told() == ["guard: close position, as the exchange shows"]
    assert "Closed: exit at 95,000, realised -52,632 sats" in Notification.objects.get().text


def test_what_nobody_can_tell_is_told(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    move(venue, 92_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    look(guard, long)
    client.add_margin(long.id, Sats(777))
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "quarantined"
    assert told() == ["guard: nobody can tell whether this happened: add margin"]


def test_what_did_not_happen_is_not_told(venue: Simulator, long: Position, guard: MarginGuard) -> None:
    move(venue, 95_000)
    venue.fault("status", status=503, path=ADD_MARGIN)
    with pytest.raises(TransientError):
        look(guard, long)
    venue.fault("status", status=504, path=ADD_MARGIN)
    look(guard, long)
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "not_applied"
    assert told() == []


def test_13_what_a_shadow_does_is_not_told(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(shadow=True)
    move(venue, 95_000)
    look(guard, long)
    MarginGuard.objects.update(switch="halted")
    look(guard, long)

    assert {"margin_guard_held", "margin_guard_shadow"} <= set(events())
    assert told() == []


def test_13_the_end_of_protection_is_told_and_its_return_with_the_next_action(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(switch="halted")
    move(venue, 95_000)
    look(guard, long)
    look(guard, long)

    assert told() == ["guard: not protected, a switch says halted"]
    first, *_ = Notification.objects.get().text.split("\n")
    assert first.startswith(f"Position {long.id} on your account “account 0” (paper) is not protected")
    MarginGuard.objects.update(switch="active")
    look(guard, long)

    assert told()[1:] == ["guard: add margin"]
    back = Notification.objects.latest("id")
    assert back.text.startswith("Protection is back. “guard” added 20,000 sats to position ")
    assert not Notification.objects.filter(ends=True).exists()


def test_13_protection_that_ends_anew_is_told_anew_within_the_hour(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    for switch in ("halted", "active", "halted"):
        MarginGuard.objects.update(switch=switch)
        look(guard, long)
        rest_until_ready(guard)
        GuardStep.objects.update(threshold_percent=40)
        move(venue, 94_000)

    assert told() == [
        "guard: not protected, a switch says halted",
        "guard: add margin",
        "guard: not protected, a switch says halted",
    ]
    assert not Notification.objects.filter(next_attempt_at__gt=timezone.now()).exists()


def test_13_a_guard_whose_budget_is_used_up_says_so(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)
    look(guard, long)
    rest_until_ready(guard)
    move(venue, 93_000)
    look(guard, long)

    assert told()[-1] == "guard: not protected, the budget is used up"


_CLOSED = "guard: closed, and not opened again"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param({"status": 400, "method": "POST", "path": ISOLATED}, "rejected", id="refused"),
        pytest.param({"status": 503, "method": "POST", "path": ISOLATED}, "not_sent", id="not sent"),
        pytest.param({"status": 401, "method": "POST", "path": ISOLATED}, "not_sent", id="key refused"),
        pytest.param({"status": 504, "method": "POST", "path": ISOLATED}, "unknown", id="no answer"),
    ],
)
def test_a_trade_that_was_closed_and_not_opened_again_is_told(
    venue: Simulator, long: Position, guard: MarginGuard, *, fault: dict[str, Any], word: str
) -> None:
    MarginGuard.objects.update(accepts_reopening=True)
    GuardStep.objects.update(does=GuardStep.Does.REDUCE, amount_sats=None, reduce_percentage=40)
    guard.refresh_from_db()
    move(venue, 95_000)
    venue.fault("status", **fault)

    assert look(guard, long) == word
    if word == "unknown":
        long_ago()
        reconciling.settle_all()

    assert told()[0] == "guard: reduce position"
    assert told()[-1] == _CLOSED


def test_a_close_without_an_answer_leaves_it_flat_and_that_is_told(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(accepts_reopening=True)
    GuardStep.objects.update(does=GuardStep.Does.REDUCE, amount_sats=None, reduce_percentage=40)
    guard.refresh_from_db()
    move(venue, 95_000)
    venue.fault("lost_answer", path=f"{ISOLATED}/close")

    assert look(guard, long) == "unknown"
    reconciling.settle_all()

    assert told() == [_CLOSED]


def test_a_suspended_account_is_told_once(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=401, path="/v3/futures/isolated/trades/running", next=5)
    with pytest.raises(TransientError):
        look(guard, long)
    assert told() == [], "one refusal is no news"
    ask_keys_again()

    suspending.suspend(account, "again")

    assert events() == ["key_refused"]
    assert told() == ["suspended, for the exchange refused the key"]
    first = Notification.objects.get().text.split("\n")[0]
    assert first.startswith("Nothing on your account “account 0” (paper) is protected now: ")
    assert "401" in first


def test_an_account_that_is_verified_anew_and_suspended_anew_is_told_anew(account: Account) -> None:
    for _ in range(2):
        suspending.suspend(account, "refused")
        account.mark_verified(timezone.now())

    assert len(told()) == 2


def test_names_with_line_breaks_stay_on_their_line(guard: MarginGuard) -> None:
    Automation.objects.update(name="first\nBcc: thief@example.com")
    Account.objects.update(name="a\nb")
    guard.refresh_from_db()

    executed(guard)

    subject = Notification.objects.get().subject
    assert subject == "[hubdefisats] a b: first Bcc: thief@example.com: add margin"


def test_what_is_rolled_back_is_not_told(guard: MarginGuard) -> None:
    with transaction.atomic():
        executed(guard)
        transaction.set_rollback(True)

    assert not Notification.objects.exists()
    assert not JournalEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_message_asks_for_delivery_once_it_is_committed(guard: MarginGuard) -> None:
    with transaction.atomic():
        executed(guard)
        assert waiting("notifications") == []

    (message,) = waiting("notifications")
    assert (message.task, message.arguments) == ("automations.tasks.deliver_notifications", [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_redis")
def test_without_redis_nobody_waits_for_the_queue(
    guard: MarginGuard, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker is there: a message would have been taken, had anybody tried."""
    executed(guard)

    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        assert broker.llen("notifications") == 0
    assert Notification.objects.get().state == "waiting"
    assert [record.getMessage() for record in caplog.records] == ["redis out of reach"]


def executed(guard: MarginGuard, position_id: str = "p1") -> None:
    with transaction.atomic():
        journal.record(
            guard,
            journal.EXECUTED,
            message="half lost",
            data={"action": Execution.Does.ADD_MARGIN},
            now=timezone.now(),
            position_id=position_id,
        )


@pytest.mark.django_db(transaction=True)
def test_many_notifications_ask_for_one_delivery_which_finds_them_all(guard: MarginGuard) -> None:
    with transaction.atomic():
        executed(guard)
    with transaction.atomic():
        executed(guard, "p2")

    assert len(waiting("notifications")) == 1
    assert delivering.deliver_due() == 2

    with transaction.atomic():
        executed(guard, "p3")

    assert len(waiting("notifications")) == 2
