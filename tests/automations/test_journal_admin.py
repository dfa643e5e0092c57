"""The journal's page in the admin: what is selected there can be taken along."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client as Browser
from django.urls import reverse

from automations import admin
from automations.models import JournalChain, JournalEntry
from tests.automations.test_journal_export import guard, journal

__all__ = ["guard"]

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:automations_journalentry_changelist"


@pytest.mark.parametrize(("action", "form"), [("as_csv", "csv"), ("as_jsonl", "jsonl")])
@pytest.mark.usefixtures("guard")
def test_the_admin_exports_what_was_selected(browser: Browser, action: str, form: str) -> None:
    wanted = list(JournalEntry.objects.order_by("id")[1:3])
    typed: dict[str, Any] = {"action": action, "_selected_action": [each.pk for each in wanted]}

    page = browser.post(reverse(LIST), typed)

    period = ["--since", "2026-03-02", "--until", "2026-03-04"]
    assert page.content.decode() == journal("export", "--format", form, *period)
    assert page["Content-Disposition"] == f'attachment; filename="journal.{form}"'
    assert not JournalChain.objects.filter(exported_id__gt=0).exists()


@pytest.mark.usefixtures("guard")
def test_more_than_a_page_can_hold_is_refused_with_a_word(browser: Browser) -> None:
    (first,) = JournalEntry.objects.order_by("id")[:1]
    JournalEntry.objects.bulk_create(
        JournalEntry(
            account_id=first.account_id, timestamp=first.timestamp, previous_hash=str(n), hash=str(n)
        )
        for n in range(admin.MOST_EXPORTED)
    )
    typed = {"action": "as_csv", "_selected_action": [first.pk], "select_across": "1"}

    page = browser.post(reverse(LIST), typed)

    (said,) = get_messages(page.wsgi_request)
    assert str(said) == "More than 20,000 entries: export them with manage.py journal export."
