"""Notifications on their way: sent once, tried again later and ever later, given up in the end."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import Account
from automations import delivering, journal, tasks
from automations.locking import position_lock
from automations.models import JournalEntry, Notification
from tests.accounts.conftest import saved
from tests.automations.typing_in import text
from tests.mail import Inbox, mail_server, silent_server

ADDRESS = "owner@example.com"


@pytest.fixture
def account(db: None) -> Account:  # noqa: ARG001
    """Of an owner with an address; no exchange is needed to tell something."""
    return saved(User.objects.create_user("owner", email=ADDRESS))


@pytest.fixture
def inbox(settings: Settings) -> Iterator[Inbox]:
    with mail_server() as inbox:
        use(inbox.url, settings)
        yield inbox


def use(url: str, settings: Settings) -> None:
    host, _, port = url.removeprefix("smtp://").partition(":")
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = host, int(port)
    settings.DEFAULT_FROM_EMAIL = "hub@example.com"


def tell(account: Account, message: str = "the key is no good") -> Notification:
    with transaction.atomic():
        entry = journal.record_about(account, journal.KEY_REFUSED, message=message, now=timezone.now())
    return Notification.objects.get(entry=entry)


def wait_over() -> None:
    """Let everything that waits be due."""
    Notification.objects.update(next_attempt_at=timezone.now())


def test_the_owner_is_mailed_once(account: Account, inbox: Inbox) -> None:
    told = tell(account)

    assert tasks.deliver_notifications() == "1 settled"
    assert tasks.deliver_notifications() == "0 settled"

    (mail,) = inbox.mails
    assert (mail["To"], mail["From"]) == (ADDRESS, "hub@example.com")
    assert mail["Subject"] == told.subject
    assert "the key is no good" in mail.get_content()
    told.refresh_from_db()
    assert (told.state, told.recipient, told.attempts) == ("sent", ADDRESS, 1)
    assert told.settled_at is not None
    assert str(told) == f"{told.subject}: sent"


def test_what_waits_longest_goes_first(account: Account, inbox: Inbox) -> None:
    for number in range(3):
        tell(account, f"number {number}")

    assert delivering.deliver_due() == 3

    said = [mail.get_content() for mail in inbox.mails]
    assert [number for mail in said for number in "012" if f"number {number}" in mail] == list("012")


def test_two_workers_at_once_send_no_mail_twice(
    transactional_db: None,  # noqa: ARG001 - asked for its effect
    account: Account,
    inbox: Inbox,
) -> None:
    for number in range(10):
        tell(account, f"number {number}")
    start = threading.Barrier(4)

    def deliver() -> None:
        start.wait(10)
        delivering.deliver_due()
        connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(inbox.mails) == 10
    assert len({mail["Subject"] + mail.get_content() for mail in inbox.mails}) == 10


def test_while_one_delivers_the_others_go_on_with_their_work(
    transactional_db: None,  # noqa: ARG001 - asked for its effect
    account: Account,
    inbox: Inbox,
) -> None:
    tell(account)
    with position_lock("notifications") as mine:
        assert mine
        settled: list[int] = []

        def deliver() -> None:
            settled.append(delivering.deliver_due())
            connection.close()

        other = threading.Thread(target=deliver)
        other.start()
        other.join(30)

    assert settled == [0]
    assert inbox.mails == []


def test_a_mail_that_is_refused_is_tried_again_later_and_holds_up_no_other(
    account: Account, inbox: Inbox
) -> None:
    first, second = tell(account, "first"), tell(account, "second")
    inbox.answers = ["451 not now"]
    before = timezone.now()

    assert delivering.deliver_due() == 1

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("waiting", "sent")
    assert "451" in first.error
    assert first.next_attempt_at >= before + delivering.FIRST_WAIT
    assert delivering.deliver_due() == 0, "its time has not come"
    wait_over()
    assert delivering.deliver_due() == 1
    first.refresh_from_db()
    assert (first.state, first.attempts, first.error) == ("sent", 2, "")


def test_waits_double_up_to_4_hours_and_it_is_given_up_after_a_week(
    account: Account, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    told = tell(account)
    inbox.answers = ["451 not now"] * 60
    waits = []
    for _ in range(delivering.MOST_ATTEMPTS):
        wait_over()
        before = timezone.now()
        delivering.deliver_due()
        told.refresh_from_db()
        waits.append(round((told.next_attempt_at - before) / delivering.FIRST_WAIT, 1))

    assert waits[:8] == [2.0**number for number in range(8)]
    assert set(waits[8:]) == {240.0}, "minutes"
    assert sum(waits[:-1]) > 7 * 24 * 60
    assert (told.state, told.attempts) == ("failed", delivering.MOST_ATTEMPTS)
    assert "451" in told.error
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "notification given up"
    ]
    wait_over()
    assert delivering.deliver_due() == 0


def test_the_operator_is_told_in_the_log_and_by_readiness_that_owners_are_not(
    account: Account,
    inbox: Inbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    anybody = Browser()
    made = tell(account).made_at
    tell(account, "another one")
    inbox.answers = ["451 not now"] * 2
    assert delivering.deliver_due() == 0
    assert "mail" not in anybody.get("/health/ready").json(), "it may pass"
    assert "ERROR" not in {record.levelname for record in caplog.records}

    since = made - timedelta(minutes=11)
    Notification.objects.update(made_at=since)
    wait_over()
    inbox.answers = ["451 not now"] * 2
    assert delivering.deliver_due() == 0

    said = anybody.get("/health/ready").json()["mail"]
    assert said == {"waiting": 2, "since": since.isoformat(timespec="seconds")}
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert errors == ["an owner is not told"] * 2
    wait_over()
    assert delivering.deliver_due() == 2
    assert "mail" not in anybody.get("/health/ready").json()


def test_a_mail_server_that_is_away_is_asked_once_and_then_left_alone(
    account: Account, inbox: Inbox, settings: Settings
) -> None:
    for number in range(3):
        tell(account, f"number {number}")
    use("smtp://127.0.0.1:1", settings)

    assert delivering.deliver_due() == 0

    states = Notification.objects.order_by("id").values_list("attempts", "state")
    assert list(states) == [(1, "waiting"), (0, "waiting"), (0, "waiting")]
    assert "ConnectionRefusedError" in Notification.objects.get(attempts=1).error
    use(inbox.url, settings)
    wait_over()
    assert delivering.deliver_due() == 3


def test_a_mail_server_that_hangs_is_waited_for_no_longer_than_its_time(
    account: Account, settings: Settings
) -> None:
    told, other = tell(account), tell(account)
    settings.EMAIL_TIMEOUT = 1
    with silent_server() as url:
        use(url, settings)
        began = time.monotonic()
        assert delivering.deliver_due() == 0

    told.refresh_from_db()
    other.refresh_from_db()
    assert "timed out" in told.error
    assert other.attempts == 0
    assert time.monotonic() - began < 10


def test_one_that_was_taken_and_lost_comes_again(account: Account, inbox: Inbox) -> None:
    """A worker died with it: it had set the next attempt, and nothing else."""
    told = tell(account)
    Notification.objects.update(attempts=1, next_attempt_at=timezone.now() - timedelta(seconds=1))

    assert delivering.deliver_due() == 1

    told.refresh_from_db()
    assert (told.state, told.attempts, len(inbox.mails)) == ("sent", 2, 1)


def test_an_owner_without_an_address_is_named_in_the_row(account: Account, inbox: Inbox) -> None:
    told = tell(account)
    User.objects.update(email="")

    assert delivering.deliver_due() == 1

    told.refresh_from_db()
    assert (told.state, told.recipient) == ("failed", "")
    assert told.error == "owner, the account's owner, has no e-mail address"
    assert inbox.mails == []


def test_an_address_that_is_none_fails_without_harm_to_others(account: Account, inbox: Inbox) -> None:
    told = tell(account)
    User.objects.update(email="ow\nner@example.com")
    other = saved(User.objects.create_user("b", email="b@example.com"), name="b", network="signet")
    tell(other)

    assert delivering.deliver_due() == 1

    told.refresh_from_db()
    assert told.state == "waiting"
    assert "newlines" in told.error
    assert [mail["To"] for mail in inbox.mails] == ["b@example.com"]


def test_without_a_mail_server_it_is_one_line_of_the_log(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told = tell(account)

    assert delivering.deliver_due() == 1

    told.refresh_from_db()
    assert told.state == "logged"
    (line,) = [record for record in caplog.records if "nobody" in record.getMessage()]
    assert vars(line)["text"] == told.text
    assert vars(line)["account_name"] == account.name


def test_what_was_settled_long_ago_is_forgotten(account: Account) -> None:
    old, young, waits = tell(account), tell(account), tell(account)
    long_ago = timezone.now() - timedelta(days=91)
    old.settle(Notification.State.SENT, long_ago)
    young.settle(Notification.State.SENT, timezone.now())
    Notification.objects.update(made_at=long_ago)

    assert tasks.prune_notifications() == "1 pruned"

    assert set(Notification.objects.all()) == {young, waits}
    assert JournalEntry.objects.count() == 3


def test_notifications_are_looked_at_and_not_changed(browser: Browser, account: Account) -> None:
    told = tell(account)
    page = reverse("admin:automations_notification_change", args=[told.pk])

    assert told.subject in text(browser.get(reverse("admin:automations_notification_changelist")))
    assert "the key is no good" in text(browser.get(page))
    assert browser.post(page, {"text": "forged"}).status_code == 403
    delete = reverse("admin:automations_notification_delete", args=[told.pk])
    assert browser.post(delete, {"post": "yes"}).status_code == 403
