"""Many accounts side by side."""

from django.db.models import F

from automations.models import Automation, Execution, JournalEntry
from tests.stateful.stage import Stage


def accounts_are_isolated(stage: Stage) -> None:
    """Credentials, data, failures and rate limits of one account never touch another."""
    for passage in stage.passages:
        person = stage.person_with(passage.intent.account_id)
        assert passage.key == person.key, "a request went out under the key of another account"
        trade = passage.params.get("id")
        assert trade in {None, *passage.before.trades} or not passage.applied
    for rows in (Execution.objects.all(), JournalEntry.objects.all()):
        astray = rows.exclude(account_id=F("automation__account_id"))
        assert not astray.filter(automation__isnull=False).exists(), "a row of two accounts"
    for person in stage.people:
        person.account.refresh_from_db()
        assert person.account.may_act, f"{person.account} was suspended by a single refusal"
    _check_sweeps(stage)


def _check_sweeps(stage: Stage) -> None:
    """See that an account out of order hid nothing of the others from the sweep."""
    if not stage.swept:
        return
    (ill, found), (_, found_later) = stage.swept
    others = set(Automation.objects.exclude(account_id=ill or 0).values_list("pk", flat=True))
    missed = {due for due in found_later - found if due[0] in others}
    assert not missed, f"not due while another account was out of order: {missed}"
