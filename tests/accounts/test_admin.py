"""Accounts in the admin: what goes in, what is said at which field, and that no secret comes out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client as Browser
from django.test import TestCase
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import inquiries
from accounts.crypto import SealBrokenError
from accounts.gateway import redis_client
from accounts.models import Account, Inquiry
from automations import journal, tasks
from automations.models import MarginGuard
from exchange.auth import Credentials
from exchange.simulator.running import Simulator
from tests.accounts.conftest import CREDENTIALS, NOW, other_key, saved, unsaved
from tests.automations.queues import carry_out, waiting
from tests.waiting import wait_until

ADD = "admin:accounts_account_add"
LIST = "admin:accounts_account_changelist"


class Committing(Browser):
    """A browser whose every request is committed, as outside of tests."""

    def request(self, **request: Any) -> Any:
        with TestCase.captureOnCommitCallbacks(execute=True):
            return super().request(**request)


@pytest.fixture
def browser(db: None) -> Browser:  # noqa: ARG001
    """A superuser, signed in."""
    browser = Committing()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


@pytest.fixture
def typed(owner: User, paper: Simulator) -> dict[str, Any]:
    """A good account as it is typed into the form."""
    key = paper.accounts[0].credentials
    return {
        "owner": owner.pk,
        "name": "mine",
        "network": "paper",
        "is_active": "on",
        "switch": "active",
        "reserve_sats": "0",
        "budget_per_day_sats": "",
        "entry_budget_per_day_sats": "",
        "commands_per_minute": "60",
        "guard_commands_per_minute": "300",
        "key": key.key,
        "secret": key.secret,
        "passphrase": key.passphrase,
    }


def change(account: Account) -> str:
    return reverse("admin:accounts_account_change", args=[account.pk])


def text(page: Any) -> str:
    """Return a page that came without fault."""
    assert page.status_code == 200
    return str(page.content.decode())


def errors(page: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = page.context["adminform"].form.errors
    return found


def said(answer: Any) -> list[str]:
    """Return the messages that the next page will show."""
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_a_new_account_is_sealed_and_its_connection_tested_at_once(
    browser: Browser, typed: dict[str, Any], paper: Simulator
) -> None:
    answer = browser.post(reverse(ADD), typed)

    account = Account.objects.get()
    assert account.credentials() == paper.accounts[0].credentials
    assert "mine (paper): its connection is being tested." in said(answer)
    assert account.verified_at is None
    page = browser.get(reverse(LIST))
    assert "being tested since" in text(page)
    assert page["Refresh"] == "2"

    carry_out("maintenance")

    account.refresh_from_db()
    assert account.may_act
    for page in (browser.get(reverse(LIST)), browser.get(change(account))):
        assert "connected, balance 10,000,000 sats (" in text(page)
        assert "Refresh" not in page


def test_a_process_that_cannot_open_credentials_takes_and_seals_them(
    browser: Browser, typed: dict[str, Any], paper: Simulator, settings: Settings
) -> None:
    private, settings.SEAL_PRIVATE_KEYS = settings.SEAL_PRIVATE_KEYS, []
    browser.post(reverse(ADD), typed)

    account = Account.objects.get()
    with pytest.raises(SealBrokenError):
        account.credentials()
    (message,) = waiting("maintenance")
    assert message.arguments == [account.inquiries.get().pk]
    assert not any(typed[name] in message.raw for name in ("key", "secret", "passphrase"))
    settings.SEAL_PRIVATE_KEYS = private
    assert account.credentials() == paper.accounts[0].credentials


def test_a_test_that_nobody_answers_says_so(browser: Browser, typed: dict[str, Any]) -> None:
    browser.post(reverse(ADD), typed)
    inquiry = Account.objects.get().inquiries.get()
    assert inquiries.overdue(timezone.now(), after=timedelta(0)) == [inquiry.pk]

    Inquiry.objects.update(asked_at=timezone.now() - Inquiry.ANSWERED_WITHIN)

    page = browser.get(reverse(LIST))
    assert "no worker answered the test of" in text(page)
    assert "Refresh" not in page
    carry_out("maintenance")
    assert not Account.objects.get().may_act, "whoever asked has gone"


@pytest.mark.usefixtures("paper")
def test_a_test_whose_message_was_lost_is_made_all_the_same(
    browser: Browser, typed: dict[str, Any]
) -> None:
    browser.post(reverse(ADD), typed)
    redis_client().delete("maintenance")
    tasks.ask_again()
    assert not waiting("maintenance"), "its message may still be on its way"
    Inquiry.objects.update(asked_at=timezone.now() - timedelta(seconds=4))

    tasks.ask_again()
    carry_out("maintenance")

    assert Account.objects.get().may_act


def test_a_wrong_key_is_kept_and_what_is_wrong_is_shown(
    browser: Browser, typed: dict[str, Any]
) -> None:
    answer = browser.post(reverse(ADD), typed | {"secret": "wrong"})

    carry_out("maintenance")
    account = Account.objects.get()
    assert account.verified_at is None
    assert "LN Markets refused the key (401" in account.fault
    assert answer.status_code == 302
    assert "LN Markets refused the key (401" in account.inquiries.get().fault


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param("much", "whole number", id="a word"),
        pytest.param("1.5", "whole number", id="half a sat"),
        pytest.param("-1", "greater than or equal to 0", id="below nothing"),
        pytest.param("9" * 30, "less than or equal", id="more than there is"),
    ],
)
def test_a_wrong_entry_budget_is_said_in_one_sentence_at_its_field(
    browser: Browser, typed: dict[str, Any], value: str, says: str
) -> None:
    page = browser.post(reverse(ADD), typed | {"entry_budget_per_day_sats": value})

    assert list(errors(page)) == ["entry_budget_per_day_sats"]
    (sentence,) = errors(page)["entry_budget_per_day_sats"]
    assert says in sentence
    assert not Account.objects.exists()
    with pytest.raises(ValidationError) as refusal:
        Account(entry_budget_per_day_sats=value).full_clean()
    assert len(refusal.value.message_dict["entry_budget_per_day_sats"]) == 1


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param({"secret"}, id="secret"),
        pytest.param({"key", "passphrase"}, id="key and passphrase"),
        pytest.param({"key", "secret", "passphrase"}, id="all of a new account"),
    ],
)
def test_what_is_left_out_is_asked_for_at_its_field(
    browser: Browser, typed: dict[str, Any], left_out: set[str]
) -> None:
    page = browser.post(reverse(ADD), typed | dict.fromkeys(left_out, ""))

    assert text(page).count("Key, secret and passphrase belong together: enter all three.") >= 1
    assert set(errors(page)) == left_out
    assert not Account.objects.exists()


@pytest.mark.parametrize("field", ["key", "secret", "passphrase"])
@pytest.mark.parametrize(
    "value", [pytest.param("schlüssel", id="an umlaut"), pytest.param("a\tb", id="a tab")]
)
def test_what_no_key_has_is_refused_at_its_field(
    browser: Browser, typed: dict[str, Any], field: str, value: str
) -> None:
    page = browser.post(reverse(ADD), typed | {field: value})

    assert errors(page) == {field: ["Only plain ASCII characters can be part of a key."]}
    assert value not in text(page)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        pytest.param({"name": ""}, "name", "required", id="no name"),
        pytest.param({"name": "n" * 101}, "name", "at most 100", id="a long name"),
        pytest.param({"owner": ""}, "owner", "required", id="no owner"),
        pytest.param({"network": "moon"}, "network", "Select a valid choice", id="unknown network"),
        pytest.param({"key": "k" * 501}, "key", "at most 500", id="a long key"),
    ],
)
def test_a_wrong_field_gets_its_message_and_nothing_typed_is_lost_but_the_secrets(
    browser: Browser, typed: dict[str, Any], changes: dict[str, str], field: str, says: str
) -> None:
    page = browser.post(reverse(ADD), typed | {"name": "what I typed"} | changes)

    assert list(errors(page)) == [field]
    assert says in errors(page)[field][0]
    shown = text(page)
    assert says in shown
    assert "name" in changes or "what I typed" in shown
    assert typed["secret"] not in shown


def test_a_name_its_owner_has_already_is_refused(
    browser: Browser, typed: dict[str, Any], owner: User
) -> None:
    saved(owner, name="mine")

    page = browser.post(reverse(ADD), typed)

    assert "already exists" in text(page)
    assert Account.objects.count() == 1


def test_a_key_of_another_account_is_refused_at_its_field(
    browser: Browser, typed: dict[str, Any], owner: User, paper: Simulator
) -> None:
    saved(owner, paper.accounts[0].credentials, name="the first")

    page = browser.post(reverse(ADD), typed)

    assert errors(page) == {"key": ["This API key already belongs to an account."]}
    assert Account.objects.count() == 1


def test_a_key_may_be_entered_again_for_its_own_account(
    browser: Browser, typed: dict[str, Any], owner: User, paper: Simulator
) -> None:
    account = saved(owner, paper.accounts[0].credentials)

    browser.post(change(account), typed)
    carry_out("maintenance")

    account.refresh_from_db()
    assert account.may_act


def test_moving_an_account_to_where_its_key_stands_already_is_refused(
    browser: Browser, typed: dict[str, Any], owner: User
) -> None:
    saved(owner)
    other = saved(owner, name="other", network="signet")

    page = browser.post(change(other), typed | {"key": "", "secret": "", "passphrase": ""})

    assert errors(page) == {"network": ["This API key already belongs to an account."]}


def test_empty_fields_keep_what_is_stored(
    browser: Browser, typed: dict[str, Any], owner: User, paper: Simulator
) -> None:
    account = saved(owner, paper.accounts[0].credentials)
    account.mark_verified(NOW)
    before = account.credentials_sealed

    answer = browser.post(
        change(account),
        typed | {"name": "renamed", "key": "", "secret": "", "passphrase": ""},
    )

    account.refresh_from_db()
    assert (account.name, account.credentials_sealed, account.verified_at) == ("renamed", before, NOW)
    assert not any("tested" in message for message in said(answer)), "nothing new to test"


def test_a_new_key_is_tested_before_anything_acts_for_it(
    browser: Browser, typed: dict[str, Any], owner: User
) -> None:
    account = saved(owner)
    account.mark_verified(NOW)

    browser.post(change(account), typed | {"passphrase": "wrong"})
    carry_out("maintenance")

    account.refresh_from_db()
    assert account.credentials().key == typed["key"]
    assert not account.may_act
    assert "refused the key" in account.fault


@pytest.mark.parametrize("field", ["network", "owner"])
def test_another_network_or_owner_means_entering_the_key_anew(
    browser: Browser, typed: dict[str, Any], owner: User, paper: Simulator, field: str
) -> None:
    account = saved(owner, paper.accounts[0].credentials)
    account.mark_verified(NOW)
    other = {"network": "signet", "owner": User.objects.create_user("another").pk}[field]
    kept = {"key": "", "secret": "", "passphrase": ""}

    page = browser.post(change(account), typed | {field: other} | kept)

    assert errors(page) == {
        field: [f"Another {field} means entering key, secret and passphrase anew: enter all three."]
    }
    account.refresh_from_db()
    assert account.may_act
    assert account.credentials() == paper.accounts[0].credentials
    assert browser.post(change(account), typed | {field: other}).status_code == 302
    account.refresh_from_db()
    assert account.credentials() == paper.accounts[0].credentials, "sealed to where it is now"


def test_a_form_that_is_refused_changes_nothing(
    browser: Browser, typed: dict[str, Any], owner: User
) -> None:
    saved(owner, other_key(), name="taken")
    account = saved(owner)
    account.mark_verified(NOW)

    page = browser.post(change(account), typed | {"name": "taken"})

    assert "…1234" in text(page), "the key that is still stored"
    account.refresh_from_db()
    assert account.may_act
    assert account.credentials() == CREDENTIALS


def test_the_connections_of_several_accounts_are_tested_one_by_one(
    browser: Browser, owner: User, paper: Simulator
) -> None:
    saved(owner, paper.accounts[0].credentials, name="good")
    saved(owner, other_key(), name="wrong")
    saved(owner, other_key(), name="elsewhere", network="signet")
    broken = saved(owner, paper.accounts[1].credentials, name="sealed")
    Account.objects.filter(pk=broken.pk).update(credentials_sealed="broken")

    browser.post(
        reverse(LIST),
        {
            "action": "test_connection",
            "_selected_action": list(Account.objects.values_list("pk", flat=True)),
        },
    )
    carry_out("maintenance")

    told = {each.account.name: each for each in Inquiry.objects.select_related("account")}
    assert told["good"].answer == {"balance": 10_000_000}
    assert told["wrong"].fault.startswith("LN Markets refused the key (401")
    assert told["elsewhere"].fault.startswith("This installation knows no signet exchange")
    assert told["sealed"].fault.startswith("The stored key cannot be opened")
    page = text(browser.get(reverse(LIST)))
    assert all(each.fault in page for each in told.values())
    assert [account.name for account in Account.objects.all().acting()] == ["good"]


def test_no_page_shows_a_secret(browser: Browser, typed: dict[str, Any]) -> None:
    secrets = Credentials(key="k-hidden-9876", secret="s-hidden-9876", passphrase="p-hidden-9876")
    hidden = {"key": secrets.key, "secret": secrets.secret, "passphrase": secrets.passphrase}
    pages = [text(browser.post(reverse(ADD), typed | hidden | {"name": ""}))]
    pages.append(text(browser.post(reverse(ADD), typed | hidden, follow=True)))
    account = Account.objects.get()
    pages.append(text(browser.post(change(account), typed | hidden | {"owner": ""})))
    history = reverse("admin:accounts_account_history", args=[account.pk])
    delete = reverse("admin:accounts_account_delete", args=[account.pk])
    pages += [
        text(browser.get(url))
        for url in (reverse(ADD), reverse(LIST), change(account), history, delete, "/admin/")
    ]

    for page in pages:
        assert "hidden-9876" not in page
        assert account.credentials_sealed not in page
        assert account.key_fingerprint not in page
    assert "…9876" in pages[4]


@pytest.mark.parametrize("query", ["", "?q=mine", "?network__exact=paper&is_active__exact=1"])
def test_the_list_shows_its_accounts(browser: Browser, owner: User, query: str) -> None:
    saved(owner, name="mine")

    page = text(browser.get(reverse(LIST) + query))

    assert "mine" in page
    assert "…1234" in page


def test_an_account_with_guards_cannot_be_deleted_and_the_page_says_why(
    browser: Browser, owner: User
) -> None:
    account = saved(owner)
    MarginGuard.objects.create(enabled=True, account=account, name="keeps it")
    url = reverse("admin:accounts_account_delete", args=[account.pk])

    assert "keeps it" in text(browser.get(url))
    assert "keeps it" in text(browser.post(url, {"post": "yes"}))
    bulk = {"action": "delete_selected", "_selected_action": [account.pk], "post": "yes"}
    assert "keeps it" in text(browser.post(reverse(LIST), bulk))
    assert Account.objects.exists()


def test_an_account_with_a_history_is_to_be_disabled_instead(browser: Browser, owner: User) -> None:
    account = saved(owner)
    with transaction.atomic():
        journal.record_about(account, "stream_recovered", message="", now=NOW)
    url = reverse("admin:accounts_account_delete", args=[account.pk])
    bulk = {"action": "delete_selected", "_selected_action": [account.pk], "post": "yes"}

    for page in (
        browser.get(url),
        browser.post(url, {"post": "yes"}),
        browser.post(reverse(LIST), bulk),
    ):
        assert "has a history, which is kept: disable it instead" in text(page)
        assert "permission" not in text(page)
    assert Account.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_who_enter_one_key_at_once_the_second_is_told_at_its_field(
    typed: dict[str, Any], owner: User, paper: Simulator
) -> None:
    """The first one's row is not committed yet while the second one's form is checked."""
    first = unsaved(owner, paper.accounts[0].credentials, name="the first")
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))

    with saved_meanwhile(first):
        page = browser.post(reverse(ADD), typed)

    assert errors(page) == {"key": ["This API key already belongs to an account."]}
    assert Account.objects.get().name == "the first"


@contextmanager
def saved_meanwhile(row: Model) -> Iterator[None]:
    """Hold a new row uncommitted until somebody else waits for it."""
    written = threading.Event()

    def save() -> None:
        with transaction.atomic():
            row.save()
            written.set()
            wait_until(somebody_waits, what="the other to save the same")
        connection.close()

    thread = threading.Thread(target=save)
    thread.start()
    try:
        assert written.wait(20)
        yield
    finally:
        thread.join(30)


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        return cursor.fetchone() is not None


def test_an_account_without_a_past_can_be_deleted(browser: Browser, owner: User) -> None:
    account = saved(owner)

    browser.post(reverse("admin:accounts_account_delete", args=[account.pk]), {"post": "yes"})

    assert not Account.objects.exists()


def test_an_owner_of_accounts_cannot_be_deleted(browser: Browser, owner: User) -> None:
    saved(owner, name="still here")
    url = reverse("admin:auth_user_delete", args=[owner.pk])

    assert "still here" in text(browser.post(url, {"post": "yes"}))
    assert User.objects.filter(pk=owner.pk).exists()


@pytest.mark.parametrize(
    "page",
    [
        "auth_user_changelist",
        "auth_user_add",
        "auth_group_changelist",
        "auth_group_add",
        "django_celery_beat_periodictask_changelist",
    ],
)
def test_the_pages_about_people_and_schedules_are_there(browser: Browser, page: str) -> None:
    assert text(browser.get(reverse(f"admin:{page}")))


@pytest.mark.parametrize("url", ["/admin/", "/admin/accounts/account/", "/admin/accounts/account/add/"])
@pytest.mark.django_db
def test_strangers_are_asked_to_sign_in(url: str) -> None:
    answer = Browser().get(url)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
