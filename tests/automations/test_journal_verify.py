"""`manage.py journal verify`: the first broken entry, in a sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.db.models import QuerySet
from django.utils import timezone

from automations import chronicle
from automations.models import JournalEntry, MarginGuard
from tests.automations.test_journal import new_guard, told, without_the_trigger

pytestmark = pytest.mark.django_db(transaction=True)
param = pytest.param


@dataclass(frozen=True, slots=True)
class Story:
    guard: MarginGuard
    entries: list[JournalEntry]


@pytest.fixture
def story() -> Story:
    """Five entries of one account, and two of another."""
    guard, other = new_guard(), new_guard("other")
    entries = [told(guard, message=f"number {n}") for n in range(5)]
    told(other)
    told(other)
    return Story(guard, entries)


def verified(*arguments: str) -> str:
    said = StringIO()
    call_command("journal", "verify", *arguments, stdout=said)
    return said.getvalue()


def forged_after(entry: JournalEntry) -> JournalEntry:
    """Write an entry past the journal, linked and sealed as a true one."""
    forged = JournalEntry(
        event=entry.event,
        account=entry.account,
        automation=entry.automation,
        type=entry.type,
        message="nothing happened",
        timestamp=entry.timestamp,
        previous_hash=entry.hash,
    )
    forged.hash = forged.computed_hash()
    forged.save(force_insert=True)
    return forged


def reseal(entry: JournalEntry) -> None:
    """Change an entry and make its own hash fit."""
    entry.message = "forged"
    entry.hash = entry.computed_hash()
    entry.save()


def replace_last(entries: list[JournalEntry]) -> None:
    entries[4].delete()
    forged_after(entries[3])


def rows(entry: JournalEntry) -> QuerySet[JournalEntry]:
    return JournalEntry.objects.filter(pk=entry.pk)


def test_an_intact_journal_is_called_so_for_each_account(story: Story) -> None:
    said = verified().splitlines()

    assert [line.partition(", ")[2] for line in said] == [
        "first (paper): intact",
        "other (paper): intact",
    ]
    assert verified("--account", str(story.guard.account_id)).count("\n") == 1


def test_an_empty_journal_is_intact() -> None:
    assert verified() == ""
    new_guard()
    assert verified().endswith("intact\n")


@pytest.mark.parametrize(
    ("tamper", "broken", "says"),
    [
        param(lambda e: rows(e[2]).update(message="no"), 2, "was changed", id="changed text"),
        param(lambda e: rows(e[2]).update(data={"amount": 1}), 2, "was changed", id="changed data"),
        param(
            lambda e: rows(e[2]).update(timestamp=timezone.now()), 2, "was changed", id="changed time"
        ),
        param(lambda e: rows(e[2]).update(position_id="x"), 2, "was changed", id="other position"),
        param(lambda e: rows(e[2]).update(automation=None), 2, "was changed", id="no automation"),
        param(lambda e: rows(e[2]).update(event="tp_sl_executed"), 2, "was changed", id="other event"),
        param(lambda e: reseal(e[2]), 3, "does not follow", id="changed, with a hash that fits"),
        param(lambda e: reseal(e[4]), 4, "is not the end", id="the last one changed so"),
        param(lambda e: e[2].delete(), 2, "does not follow", id="removed in the middle"),
        param(lambda e: e[0].delete(), 0, "does not follow", id="removed at the beginning"),
        param(lambda e: e[4].delete(), 3, "is not the end", id="removed at the end"),
        param(lambda e: rows(e[4]).update(id=1), 0, "does not follow", id="moved to the front"),
        param(lambda e: forged_after(e[4]), 5, "put there by somebody else", id="forged successor"),
        param(replace_last, 4, "is not the end", id="the last one replaced"),
    ],
)  # fmt: skip
def test_the_first_broken_entry_is_named(  # `broken`: its place among those left
    story: Story, tamper: Callable[[list[JournalEntry]], object], broken: int, says: str
) -> None:
    with without_the_trigger():
        tamper(story.entries)

    with pytest.raises(CommandError) as refused:
        verified()

    left = JournalEntry.objects.filter(account=story.guard.account).order_by("id")
    said = str(refused.value)
    assert said.startswith(f"account {story.guard.account_id}, first (paper): entry {left[broken].pk} ")
    assert says in said
    assert "\n" not in said


def test_a_whole_journal_that_is_gone_is_missed(story: Story) -> None:
    with without_the_trigger():
        JournalEntry.objects.filter(account=story.guard.account).delete()

    with pytest.raises(CommandError, match="all 5 entries are gone"):
        verified()


def test_a_second_successor_of_an_entry_cannot_be_written(story: Story) -> None:
    with pytest.raises(IntegrityError, match="an_entry_has_one_successor"):
        forged_after(story.entries[2])


def test_an_entry_of_an_account_that_has_no_journal_is_forged() -> None:
    guard = new_guard()
    forged = forged_after(JournalEntry(account=guard.account, timestamp=timezone.now(), hash=""))

    with pytest.raises(CommandError, match=f"entry {forged.pk} .* put there by somebody else"):
        verified()


def test_others_may_write_while_it_is_verified(story: Story) -> None:
    with chronicle._standing_still():  # noqa: SLF001 - the moment between is not reached from outside
        assert chronicle.first_fault(story.guard.account_id) is None
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("repeatable read",)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        param(["verify", "--account", "999"], "There is no account 999", id="unknown account"),
        param(["verify", "--account", str(10**30)], "There is no account 1000", id="huge number"),
        param(["verify", "--account", "first"], "invalid int value", id="a name"),
        param([], "required: verify|export|prune", id="nothing to do"),
        param(["repair"], "invalid choice: 'repair'", id="unknown word"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("journal", *arguments)

    assert says in str(refused.value)
