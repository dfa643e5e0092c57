"""Guards in the admin are configured; executions and the journal are looked at and nothing else."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from automations.models import Execution, JournalEntry, MarginGuard
from tests.automations.test_models import execution

ADD = "admin:automations_marginguard_add"
LIST = "admin:automations_marginguard_changelist"


@pytest.fixture
def typed(account: Account) -> dict[str, Any]:
    """A guard as it is typed into the form."""
    return {
        "account": account.pk,
        "name": "typed name",
        "enabled": "on",
        "metric": "margin_used",
        "threshold_percent": "70",
        "cooldown_s": "10",
        "does": "add_to_reach",
        "amount_sats": "",
        "target_percent": "50",
        "budget_per_position_sats": "100000",
        "budget_per_day_sats": "200000",
    }


@pytest.fixture
def happened(guard: MarginGuard) -> Execution:
    """An execution with its entry in the journal."""
    done = execution(guard, state="confirmed", settled_at=timezone.now(), why="margin used 50 %")
    JournalEntry.objects.create(
        event="margin_guard_executed",
        account=guard.account,
        automation=guard,
        execution=done,
        position_id=done.position_id,
        type="margin_guard",
        message="topped up <in time>",
        data={"positionId": done.position_id},
        timestamp=timezone.now(),
    )
    return done


def text(page: Any) -> str:
    """Return a page that came without fault."""
    assert page.status_code == 200
    return str(page.content.decode())


def errors(page: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = page.context["adminform"].form.errors
    return found


def change(guard: MarginGuard) -> str:
    return reverse("admin:automations_marginguard_change", args=[guard.pk])


def test_the_empty_form_shows_every_field(browser: Browser, typed: dict[str, Any]) -> None:
    page = text(browser.get(reverse(ADD)))

    for name in typed:
        assert f'name="{name}"' in page


def test_a_guard_is_added_as_typed(browser: Browser, typed: dict[str, Any]) -> None:
    assert browser.post(reverse(ADD), typed).status_code == 302

    guard = MarginGuard.objects.get()
    assert guard.threshold_percent == 70
    assert guard.target_percent == 50
    assert guard.enabled
    assert "typed name" in text(browser.get(change(guard)))


def test_a_guard_is_changed_as_typed(
    browser: Browser, typed: dict[str, Any], guard: MarginGuard
) -> None:
    del typed["enabled"]

    assert browser.post(change(guard), typed).status_code == 302

    guard.refresh_from_db()
    assert (guard.name, guard.does, guard.enabled) == ("typed name", "add_to_reach", False)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        pytest.param({"account": ""}, "account", "required", id="no account"),
        pytest.param({"name": ""}, "name", "required", id="no name"),
        pytest.param({"name": "n" * 101}, "name", "at most 100", id="a long name"),
        pytest.param({"metric": "mood"}, "metric", "valid choice", id="unknown metric"),
        pytest.param({"does": "pray"}, "does", "valid choice", id="unknown action"),
        pytest.param({"threshold_percent": ""}, "threshold_percent", "required", id="no threshold"),
        pytest.param({"threshold_percent": "x"}, "threshold_percent", "number", id="a word"),
        pytest.param({"threshold_percent": "NaN"}, "threshold_percent", "number", id="not a number"),
        pytest.param({"threshold_percent": "0"}, "threshold_percent", "more than 0 %", id="zero"),
        pytest.param({"threshold_percent": "101"}, "threshold_percent", "100 %", id="above 100"),
        pytest.param({"threshold_percent": "1e9"}, "threshold_percent", "digits", id="far above"),
        pytest.param({"threshold_percent": "1.23456"}, "threshold_percent", "4 decimal", id="too fine"),
        pytest.param({"target_percent": ""}, "target_percent", "which value", id="no target"),
        pytest.param({"target_percent": "80"}, "target_percent", "below the threshold", id="beyond"),
        pytest.param({"does": "add_fixed"}, "amount_sats", "how many sats", id="no amount"),
        pytest.param(
            {"does": "add_fixed", "amount_sats": "0"}, "amount_sats", "at least 1", id="amount zero"
        ),
        pytest.param(
            {"does": "add_fixed", "amount_sats": "9" * 30}, "amount_sats", "less than or equal",
            id="more sats than there are",
        ),
        pytest.param(
            {"budget_per_day_sats": "0"}, "budget_per_day_sats", "budget of zero", id="no budget"
        ),
        pytest.param(
            {"budget_per_position_sats": "-1"}, "budget_per_position_sats", "greater than or equal",
            id="budget below zero",
        ),
        pytest.param({"cooldown_s": "0"}, "cooldown_s", "greater than or equal to 1", id="no cooldown"),
        pytest.param({"cooldown_s": "9" * 10}, "cooldown_s", "less than or equal", id="for ages"),
    ],
)  # fmt: skip
def test_a_wrong_field_gets_its_message_and_what_was_typed_stays(
    browser: Browser, typed: dict[str, Any], changes: dict[str, str], field: str, says: str
) -> None:
    page = browser.post(reverse(ADD), typed | changes)

    assert list(errors(page)) == [field]
    assert says in " ".join(errors(page)[field])
    shown = text(page)
    assert "name" in changes or 'value="typed name"' in shown
    for name, value in changes.items():
        kept = name in {"metric", "does"} or not value or f'value="{value}"' in shown
        assert kept, "also what is wrong"
    assert not MarginGuard.objects.exists()


def test_a_name_that_the_account_has_already_is_refused(
    browser: Browser, typed: dict[str, Any], guard: MarginGuard
) -> None:
    page = browser.post(reverse(ADD), typed | {"name": guard.name})

    assert "already exists" in text(page)
    assert MarginGuard.objects.count() == 1


@pytest.mark.parametrize("query", ["", "?q=guard", "?enabled__exact=1&metric__exact=margin_used"])
def test_the_list_of_guards_shows_them(browser: Browser, guard: MarginGuard, query: str) -> None:
    page = text(browser.get(reverse(LIST) + query))

    assert str(guard.account) in page
    assert change(guard) in page


@pytest.mark.parametrize(("action", "after"), [("disable", False), ("enable", True)])
def test_several_guards_are_switched_at_once(
    browser: Browser, guard: MarginGuard, account: Account, action: str, after: bool
) -> None:
    second = MarginGuard.objects.create(
        account=account, name="second", threshold_percent=50, does="close_position"
    )
    third = MarginGuard.objects.create(
        account=account, name="third", threshold_percent=50, does="close_position"
    )
    MarginGuard.objects.update(enabled=not after)

    answer: Any = browser.post(
        reverse(LIST), {"action": action, "_selected_action": [guard.pk, second.pk]}
    )

    assert [str(message) for message in get_messages(answer.wsgi_request)] == [f"2 {action}d."]
    switched = MarginGuard.objects.filter(enabled=after)
    assert set(switched) == {guard, second}
    assert third not in switched


@pytest.mark.parametrize("query", ["", "?q=p1"])
@pytest.mark.parametrize("model", ["execution", "journalentry"])
def test_records_are_listed(browser: Browser, happened: Execution, model: str, query: str) -> None:
    page = text(browser.get(reverse(f"admin:automations_{model}_changelist") + query))

    shown = "margin used 50 %" if model == "execution" else "topped up &lt;in time&gt;"
    assert shown in page
    assert happened.automation.name in page


@pytest.mark.parametrize("model", ["execution", "journalentry"])
def test_a_record_can_be_looked_at_and_not_be_changed(
    browser: Browser, happened: Execution, model: str
) -> None:
    record = happened if model == "execution" else JournalEntry.objects.get()
    url = {
        name: reverse(f"admin:automations_{model}_{name}", args=[] if name == "add" else [record.pk])
        for name in ("add", "change", "delete", "history")
    }

    assert happened.position_id in text(browser.get(url["change"]))
    assert text(browser.get(url["history"]))
    for name in ("add", "delete"):
        assert browser.get(url[name]).status_code == 403
    for name in ("add", "change", "delete"):
        assert browser.post(url[name], {"post": "yes", "message": "forged"}).status_code == 403
    assert Execution.objects.count() == JournalEntry.objects.count() == 1
    assert JournalEntry.objects.get().message == "topped up <in time>"


@pytest.mark.parametrize("model", ["execution", "journalentry"])
def test_records_cannot_be_deleted_in_bulk(browser: Browser, happened: Execution, model: str) -> None:
    bulk = {"action": "delete_selected", "_selected_action": [happened.pk], "post": "yes"}

    browser.post(reverse(f"admin:automations_{model}_changelist"), bulk)

    assert Execution.objects.count() == JournalEntry.objects.count() == 1


def is_refused(page: str) -> bool:
    """Whether a page says that nothing is deleted, for there are executions and a journal."""
    why = page.partition("would result in deleting related objects")[2]
    return "execution" in why and "journal entry" in why


@pytest.mark.usefixtures("happened")
def test_a_guard_with_a_past_cannot_be_deleted_and_the_page_says_why(browser: Browser) -> None:
    guard = MarginGuard.objects.get()
    url = reverse("admin:automations_marginguard_delete", args=[guard.pk])
    bulk = {"action": "delete_selected", "_selected_action": [guard.pk], "post": "yes"}

    for page in (
        browser.get(url),
        browser.post(url, {"post": "yes"}),
        browser.post(reverse(LIST), bulk),
    ):
        assert is_refused(text(page))
    assert MarginGuard.objects.exists()


def test_an_account_with_a_past_cannot_be_deleted_and_the_page_says_why(
    browser: Browser, happened: Execution
) -> None:
    url = reverse("admin:accounts_account_delete", args=[happened.account_id])

    assert is_refused(text(browser.get(url)))
    assert is_refused(text(browser.post(url, {"post": "yes"})))
    assert Account.objects.exists()


def test_a_guard_without_a_past_can_be_deleted(browser: Browser, guard: MarginGuard) -> None:
    browser.post(reverse("admin:automations_marginguard_delete", args=[guard.pk]), {"post": "yes"})

    assert not MarginGuard.objects.exists()


def test_a_record_says_in_a_line_what_it_is(happened: Execution) -> None:
    entry = JournalEntry.objects.get()

    assert str(happened) == f"execution {happened.pk}: add_margin on p1, confirmed"
    assert str(entry).endswith("margin_guard_executed: topped up <in time>")
