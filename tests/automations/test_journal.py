"""Writing the journal: each account's chain, and what the database refuses to do to it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import Account
from automations import chronicle, journal
from automations.models import Execution, JournalChain, JournalEntry, MarginGuard
from exchange import failures
from exchange.auth import Credentials
from tests.automations.acting import check_the_chain
from tests.automations.test_models import execution
from tests.automations.test_retention import written

pytestmark = pytest.mark.django_db
param = pytest.param


def new_guard(name: str = "first") -> MarginGuard:
    owner, _ = User.objects.get_or_create(username="owner")
    account = Account(owner=owner, name=name, network="paper")
    account.set_credentials(Credentials(key=f"key-{name}", secret="s", passphrase="p"))
    account.save()
    return MarginGuard.objects.create(enabled=True, account=account, name="guard", metric="margin_used")


@pytest.fixture
def guard() -> MarginGuard:
    return new_guard()


def told(of: MarginGuard, **changes: Any) -> JournalEntry:
    """Write one entry as everybody does."""
    fields: dict[str, Any] = {
        "message": "margin added",
        "data": {"amount": 1000},
        "now": timezone.now(),
        "position_id": "p1",
    }
    with transaction.atomic():
        return journal.record(of, journal.EXECUTED, **(fields | changes))


@contextmanager
def without_the_trigger() -> Iterator[None]:
    """Do what only the owner of the tables can."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE automations_journalentry DISABLE TRIGGER USER")
        yield
        cursor.execute("ALTER TABLE automations_journalentry ENABLE TRIGGER USER")


def test_each_account_has_a_chain_of_its_own_and_its_row_knows_the_end(guard: MarginGuard) -> None:
    other = new_guard("other")

    first, foreign, second = told(guard), told(other), told(guard)

    assert (first.previous_hash, foreign.previous_hash) == ("", "")
    assert second.previous_hash == first.hash
    chain = JournalChain.objects.get(account=guard.account)
    assert (chain.newest_hash, chain.length) == (second.hash, 2)
    assert str(chain) == "the journal of first (paper), 2 entries long"


@pytest.mark.parametrize(
    "data",
    [
        param({}, id="nothing"),
        param({"b": 1, "a": 2, "long": 3}, id="keys in another order"),
        param({"text": "Grün €  \" ' \\ \n \u2028 😀"}, id="any text"),
        param({"sats": 2**63, "price": "95000.5", "none": None, "yes": True}, id="every type"),
        param({"after": {"z": [1, {"y": (2, 3)}], "a": {}}}, id="nested"),
    ],
)
def test_an_entry_read_back_has_the_hash_it_was_written_with(
    guard: MarginGuard, data: dict[str, Any]
) -> None:
    entry = told(guard, data=data, message="Grün 😀 " + "x" * 600)

    assert JournalEntry.objects.get().computed_hash() == entry.hash


@pytest.mark.parametrize(
    "attempt",
    [
        param(lambda: JournalEntry.objects.update(message="forged"), id="changing a text"),
        param(lambda: JournalEntry.objects.update(execution=None), id="forgetting an execution"),
        param(lambda: JournalEntry.objects.all().delete(), id="deleting"),
        param(lambda: JournalEntry.objects.get().delete(), id="deleting one"),
    ],
)
def test_the_database_refuses_to_change_or_delete_an_entry(
    guard: MarginGuard, attempt: Callable[[], Any]
) -> None:
    entry = told(guard)

    with transaction.atomic(), pytest.raises(IntegrityError, match="append-only"):
        attempt()

    assert JournalEntry.objects.get().computed_hash() == entry.hash


def test_an_execution_can_go_and_its_entry_stays_as_it_is(guard: MarginGuard) -> None:
    (execution,) = written(guard)
    told(guard, execution=execution)
    number = execution.pk

    execution.delete()

    assert JournalEntry.objects.get().execution_id == number
    assert JournalEntry.objects.select_related("execution").get().execution is None


@pytest.mark.django_db(transaction=True)
def test_two_who_write_at_once_follow_each_other() -> None:
    guard, both_wrote = new_guard(), threading.Barrier(2, timeout=5)
    faults: list[Exception] = []
    told(guard)

    def write(position_id: str) -> None:
        try:
            with transaction.atomic():
                (execution,) = written(guard, position_id=position_id)
                both_wrote.wait()
                told(guard, execution=execution)
        except Exception as fault:  # noqa: BLE001 - whatever it is belongs to the test
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(each,)) for each in ("p1", "p2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert faults == []
    assert Execution.objects.count() == 2
    assert chronicle.verify(guard.account) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", ["once", "again"])
def test_tables_can_be_emptied_between_tests(time: str) -> None:
    assert not JournalEntry.objects.exists(), time
    told(new_guard())


@pytest.mark.parametrize("said", ["\x00", "a\x00b", "\ud800", "\udfff\x00\ud83d", "\ud83d\ude00"])
def test_whatever_the_exchange_says_about_a_refusal_is_written_down(
    said: str,
) -> None:
    guard = new_guard()
    content = json.dumps({"message": f"not {said} now"}).encode()
    error = failures.refused(400, headers={}, content=content, where="POST /x", writes=True)
    told = str(error)

    with transaction.atomic():
        journal.record_about(guard.account, "stream_recovered", message=told, now=timezone.now())
    guard.account.suspend(told)
    execution(guard, position_id="p1", error=told)

    assert Account.objects.get().fault == told == JournalEntry.objects.latest("id").message
    check_the_chain()
