"""Automations of all kinds in the admin are configured; records are looked at and nothing else."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from automations import journal
from automations.models import (
    Execution,
    GuardStep,
    JournalEntry,
    MarginGuard,
    PositionThreshold,
)
from tests.automations.test_models import execution
from tests.automations.typing_in import GUARD, KINDS, TYPED, add, change, errors, text

LIST = "admin:automations_marginguard_changelist"


@pytest.fixture
def happened(guard: MarginGuard) -> Execution:
    """An execution with its entry in the journal."""
    done = execution(guard, state="confirmed", settled_at=timezone.now(), why="margin used 50 %")
    with transaction.atomic():
        journal.record(
            guard,
            journal.EXECUTED,
            message="topped up <in time>",
            data={},
            now=timezone.now(),
            position_id=done.position_id,
            execution=done,
        )
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_form_shows_every_field(browser: Browser, common: dict[str, str], kind: str) -> None:
    page = text(browser.get(add(kind)))

    for name in common | TYPED[kind]:
        assert f'name="{name}"' in page


@pytest.mark.parametrize("kind", KINDS)
def test_an_automation_is_added_as_typed(browser: Browser, common: dict[str, str], kind: str) -> None:
    assert browser.post(add(kind), common | TYPED[kind]).status_code == 302

    made = KINDS[kind].objects.get()
    assert (made.name, made.enabled, made.shadow, made.cooldown_s) == ("typed name", True, False, 10)
    assert "typed name" in text(browser.get(change(made, kind)))
    stored: dict[str, object] = {
        name: value for name, value in TYPED[kind].items() if hasattr(made, name)
    }
    ticked = {name: True for name, value in stored.items() if value == "on"}
    stored = {name: value for name, value in stored.items() if value} | ticked
    assert KINDS[kind].objects.filter(**(stored))


def test_a_guard_is_changed_as_typed(
    browser: Browser, common: dict[str, str], guard: MarginGuard
) -> None:
    del common["enabled"]
    step = guard.steps.get()
    known = {"steps-INITIAL_FORMS": "1", "steps-0-id": str(step.pk), "steps-0-guard": str(guard.pk)}

    assert browser.post(change(guard), common | TYPED[GUARD] | known).status_code == 302

    guard.refresh_from_db()
    step.refresh_from_db()
    assert (guard.name, guard.enabled) == ("typed name", False)
    assert (step.does, step.threshold_percent, step.target_percent) == ("add_to_reach", 70, 50)


def test_a_ladder_is_typed_as_several_steps(browser: Browser, common: dict[str, str]) -> None:
    second = {
        "steps-TOTAL_FORMS": "2", "steps-1-threshold_percent": "90", "steps-1-does": "close_position",
    }  # fmt: skip

    assert browser.post(add(GUARD), common | TYPED[GUARD] | second).status_code == 302

    assert [str(step) for step in GuardStep.objects.all()] == [
        "at 70 %: Add just enough margin to reach a target", "at 90 %: Close the position",
    ]  # fmt: skip


def test_a_change_that_is_refused_leaves_guard_and_steps_as_they_were(
    browser: Browser, common: dict[str, str], guard: MarginGuard
) -> None:
    step = guard.steps.get()
    known = {"steps-INITIAL_FORMS": "1", "steps-0-id": str(step.pk), "steps-0-guard": str(guard.pk)}

    page = browser.post(change(guard), common | TYPED[GUARD] | known | {"steps-0-target_percent": "80"})

    assert list(errors(page)) == ["steps-0-target_percent"]
    assert MarginGuard.objects.get().name == "guard"
    assert GuardStep.objects.get().does == "add_fixed"


def test_a_single_position_is_given_a_threshold_of_its_own(
    browser: Browser, guard: MarginGuard
) -> None:
    step = guard.steps.get()
    url = reverse("admin:automations_guardstep_change", args=[step.pk])
    prefix = "position_thresholds"
    wanted = {
        f"{prefix}-TOTAL_FORMS": "1",
        f"{prefix}-INITIAL_FORMS": "0",
        f"{prefix}-0-step": str(step.pk),
        f"{prefix}-0-position_id": "p1",
        f"{prefix}-0-threshold_percent": "101",
    }

    assert url in text(browser.get(change(guard)))
    page = browser.post(url, wanted)
    assert "100 %" in errors(page)[f"{prefix}-0-threshold_percent"]
    assert browser.post(url, wanted | {f"{prefix}-0-threshold_percent": "40"}).status_code == 302

    own = PositionThreshold.objects.get()
    assert (own.step, own.position_id, own.threshold_percent) == (step, "p1", 40)


def test_a_name_that_the_account_has_already_is_refused(
    browser: Browser, common: dict[str, str], guard: MarginGuard
) -> None:
    page = browser.post(add(GUARD), common | TYPED[GUARD] | {"name": guard.name})

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
    second = MarginGuard.objects.create(enabled=True, account=account, name="second")
    third = MarginGuard.objects.create(enabled=True, account=account, name="third")
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
    """Whether a page says that nothing is deleted, and what to do instead."""
    said = "has a history, which is kept: disable it instead"
    return said in page and "permission" not in page


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

    assert str(happened) == f"execution {happened.pk}: add margin on p1, confirmed"
    assert str(entry).endswith("margin_guard_executed: topped up <in time>")


@pytest.mark.parametrize(
    ("action", "said"), [("enable", "Enabled"), ("disable", "Disabled"), ("halt", "Halted")]
)
def test_what_is_changed_from_the_list_has_its_time_and_a_line_in_its_history(
    browser: Browser, guard: MarginGuard, action: str, said: str
) -> None:
    before = guard.changed_at
    chosen = {"action": action, "_selected_action": [str(guard.pk)]}

    browser.post(reverse("admin:automations_marginguard_changelist"), chosen)

    guard.refresh_from_db()
    assert guard.changed_at > before
    assert said in text(browser.get(reverse("admin:automations_marginguard_history", args=[guard.pk])))
