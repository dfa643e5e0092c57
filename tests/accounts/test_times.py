"""Times for people: seconds, the zone that each chose, and its name."""

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from freezegun import freeze_time

from accounts import times
from accounts.models import Account, Profile
from automations import journal
from automations.models import AutoEntry, JournalEntry, MarginGuard, Notification
from tests.accounts.conftest import saved

BERLIN, KATHMANDU = "Europe/Berlin", "Asia/Kathmandu"
PROFILE = "admin:accounts_profile_change"
LIST = "admin:accounts_profile_changelist"
SUMMER = datetime(2026, 10, 25, 0, 30, 15, 123_456, tzinfo=UTC)
WINTER = datetime(2026, 10, 25, 1, 30, 15, 123_456, tzinfo=UTC)
"""One hour later, when clocks in Berlin show the same."""


@pytest.fixture
def owner(db: None) -> User:  # noqa: ARG001
    return User.objects.create_superuser("alice", "alice@example.com", "x")


@pytest.fixture
def browser(owner: User) -> Browser:
    browser = Browser()
    browser.force_login(owner)
    return browser


@pytest.fixture
def account(owner: User) -> Account:
    return saved(owner, verified_at=SUMMER)


def page_of(browser: Browser, name: str, *args: Any) -> str:
    answer = browser.get(reverse(name, args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def choose(browser: Browser, owner: User, zone: str) -> Any:
    page_of_own = reverse(PROFILE, args=[owner.pk])
    assert browser.get(reverse(LIST)).headers["Location"] == page_of_own
    return browser.post(page_of_own, {"time_zone": zone}, follow=True)


@pytest.mark.parametrize(
    ("zone", "at", "written"),
    [
        (None, SUMMER, "2026-10-25 00:30:15 UTC"),
        (BERLIN, SUMMER, "2026-10-25 02:30:15 CEST"),
        (BERLIN, WINTER, "2026-10-25 02:30:15 CET"),
        (KATHMANDU, SUMMER, "2026-10-25 06:15:15 +0545"),
    ],
)
def test_pages_say_times_in_the_zone_of_who_is_signed_in(  # noqa: PLR0917 - three are fixtures
    browser: Browser, owner: User, account: Account, zone: str | None, at: datetime, written: str
) -> None:
    Account.objects.update(verified_at=at)
    if zone:
        assert f"Times are said in {zone} from now on." in choose(browser, owner, zone).content.decode()

    assert written in page_of(browser, "admin:accounts_account_changelist")
    assert written in page_of(browser, "admin:accounts_account_change", account.pk)
    assert times.written(at, times.zone_of(owner.pk)) == written


@freeze_time(SUMMER)
def test_records_have_milliseconds_on_their_pages_and_utc_in_their_exports(
    browser: Browser, owner: User, account: Account
) -> None:
    with transaction.atomic():
        journal.lock_chain(account.pk)
        journal.record_about(account, "stream_recovered", message="it is back", now=timezone.now())
    entry = JournalEntry.objects.get()
    choose(browser, owner, BERLIN)

    shown = "2026-10-25 02:30:15.123 CEST"
    assert shown in page_of(browser, "admin:automations_journalentry_changelist")
    assert shown in page_of(browser, "admin:automations_journalentry_change", entry.pk)
    for action in ("as_csv", "as_jsonl"):
        export = browser.post(
            reverse("admin:automations_journalentry_changelist"),
            {"action": action, "_selected_action": [entry.pk]},
        )
        assert "2026-10-25T00:30:15.123456+00:00" in export.content.decode()
    assert str(entry).startswith("2026-10-25 00:30:15.123 UTC stream_recovered")


def test_a_form_shows_and_takes_times_in_that_zone_and_names_it(
    browser: Browser, owner: User, account: Account
) -> None:
    choose(browser, owner, BERLIN)
    entry = AutoEntry.objects.create(
        account=account, name="entry", side="buy", quantity=100, leverage=10, trigger_price=90_000,
        expires_at=datetime(2027, 7, 1, 10, 0, 5, tzinfo=UTC),
    )  # fmt: skip
    change = reverse("admin:automations_autoentry_change", args=[entry.pk])
    page = browser.get(change)
    text = page.content.decode()
    assert "In the time zone Europe/Berlin." in text
    assert 'value="2027-07-01"' in text
    assert 'value="12:00:05"' in text

    form = page.context["adminform"].form
    typed = {f"{form[name].html_name}": form[name].value() for name in form.fields}
    typed = {name: value for name, value in typed.items() if value not in {None, False}}
    typed |= {"expires_at_0": "2027-01-15", "expires_at_1": "08:30:10"}
    typed.pop("expires_at")
    assert browser.post(change, typed).status_code == 302
    entry.refresh_from_db()
    assert entry.expires_at == datetime(2027, 1, 15, 7, 30, 10, tzinfo=UTC), "winter"

    for clock, day in (("02:30:00", "2027-03-28"), ("02:30:00", "2027-10-31")):
        typed |= {"expires_at_0": day, "expires_at_1": clock}
        refused = browser.post(change, typed)
        assert refused.status_code == 200
        assert "may be ambiguous or it may not exist" in refused.content.decode()
    entry.refresh_from_db()
    assert entry.expires_at == datetime(2027, 1, 15, 7, 30, 10, tzinfo=UTC)


def test_messages_are_in_the_zone_of_the_owner(owner: User, account: Account) -> None:
    Profile.objects.create(user=owner, time_zone=BERLIN)
    MarginGuard.objects.create(account=account, name="guard", enabled=True)
    for at in (SUMMER, WINTER):
        with transaction.atomic():
            journal.lock_chain(account.pk)
            journal.record_about(account, "stream_recovered", message="it is back", now=at)
            journal.record_about(account, "fallback_activated", message="silent", now=at)
    texts = " ".join(Notification.objects.values_list("text", flat=True))

    assert re.search(r"2026-10-25 02:30:15 CES?T, journal entry \d+\.", texts)
    assert "UTC" not in texts


def test_nobody_sees_or_sets_another_s_zone_there_and_any_who_may_sign_in_has_a_page(
    browser: Browser, owner: User
) -> None:
    bob = User.objects.create_user("bob", password="x", is_staff=True)
    Profile.objects.create(user=bob)
    assert browser.get(reverse(PROFILE, args=[bob.pk])).status_code == 302, "back to the front page"

    his = Browser()
    his.force_login(bob)
    choose(his, bob, KATHMANDU)
    his.post(reverse(PROFILE, args=[owner.pk]), {"time_zone": KATHMANDU})
    assert Profile.objects.get(pk=bob.pk).time_zone == KATHMANDU
    assert times.zone_of(owner.pk) is UTC

    refused = choose(his, bob, "Mars/Olympus")
    assert "is not one of the available choices" in refused.content.decode()
    assert Profile.objects.get(pk=bob.pk).time_zone == KATHMANDU


def test_an_administrator_sets_it_for_an_owner_who_does_not_sign_in(
    browser: Browser, owner: User
) -> None:
    page = browser.get(reverse("admin:auth_user_change", args=[owner.pk]))
    assert 'name="profile-0-time_zone"' in page.content.decode()


def test_a_zone_that_is_known_no_more_is_utc(owner: User) -> None:
    Profile.objects.create(user=owner, time_zone="Atlantis/Capital")
    assert times.zone_of(owner.pk) is UTC


def test_every_zone_to_choose_can_be_used() -> None:
    names = times.zone_names()
    assert names[0] == "UTC"
    assert {BERLIN, KATHMANDU, "America/New_York"} <= set(names)
    assert all(times.written(SUMMER, ZoneInfo(name)) for name in names)


def test_a_page_s_zone_ends_with_it_and_health_asks_for_no_user(
    browser: Browser, owner: User, django_assert_num_queries: Any
) -> None:
    choose(browser, owner, BERLIN)
    assert timezone.get_current_timezone_name() == "UTC"
    with django_assert_num_queries(0):
        assert browser.get("/health/live").status_code == 200
