"""How workers look: one alone, with its shadow before it, or many at once with the same message."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection, transaction

from automations import tasks
from automations.models import Automation, Execution, JournalEntry, SpentStep
from exchange.errors import ExchangeError
from exchange.position import PositionId
from tests.stateful.stage import Look, Person, Rehearsal, Stage
from tests.stateful.trouble import Trouble


class _Undo(Exception):  # noqa: N818 - it is none
    """Ends a transaction of which nothing is to be left."""


def look(
    stage: Stage,
    automation_id: int,
    position_id: PositionId | None,
    *,
    person: Person,
    trouble: Trouble,
) -> Look:
    """Let a worker take the message while something goes wrong; return what came of it."""
    taken = Look(
        account_id=person.account.pk,
        automation_id=automation_id,
        position_id=position_id,
        changed_at=person.changed_at,
    )
    if not trouble.reads:
        taken.foreseen = rehearse(automation_id, position_id)
    known = _newest()
    passages, readings = len(stage.witness.passages), len(stage.witness.readings)
    stage.witness.ambush = trouble.ambush(stage, person, position_id)
    stage.witness.ambushed = False
    with trouble.reigns(stage, person):
        _run(taken)
    stage.witness.ambush = None
    taken.ambushed = stage.witness.ambushed
    taken.passages = stage.witness.passages[passages:]
    taken.readings = stage.witness.readings[readings:]
    taken.executions = list(Execution.objects.filter(pk__gt=known).order_by("id"))
    _note(stage, [taken])
    return taken


def look_at_once(
    stage: Stage,
    automation_id: int,
    position_id: PositionId | None,
    *,
    person: Person,
    times: int,
) -> None:
    """Let so many workers take the same message at the same time."""
    known, passages = _newest(), len(stage.witness.passages)
    looks = [
        Look(
            account_id=person.account.pk,
            automation_id=automation_id,
            position_id=position_id,
            alone=False,
        )
        for _ in range(times)
    ]
    start = threading.Barrier(len(looks))

    def work(taken: Look) -> None:
        start.wait(20)
        _run(taken)
        connection.close()

    threads = [threading.Thread(target=work, args=(taken,)) for taken in looks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    looks[0].passages = stage.witness.passages[passages:]
    looks[0].executions = list(Execution.objects.filter(pk__gt=known).order_by("id"))
    _note(stage, looks)


def rehearse(automation_id: int, position_id: PositionId | None) -> Rehearsal | None:
    """Let the automation look as a shadow with the same memory, and leave no trace of it.

    None: it is or was a shadow, with a memory of its own; or its look failed.
    """
    was_one = Execution.objects.filter(automation_id=automation_id, state=Execution.State.SHADOW)
    if Automation.objects.get(pk=automation_id).shadow or was_one.exists():
        return None
    rehearsal = None
    with suppress(_Undo), transaction.atomic():
        SpentStep.objects.filter(step__guard_id=automation_id).update(shadow=True)
        Automation.objects.filter(pk=automation_id).update(shadow=True)
        newest = JournalEntry.objects.first()
        with suppress(ExchangeError):
            word = str(tasks.act(automation_id, position_id)["status"])
            later = JournalEntry.objects.filter(pk__gt=newest.pk if newest else 0)
            intended = later.filter(event__endswith="_intended").order_by("id").first()
            rehearsal = Rehearsal(word=word, intent=decision_in(intended))
        raise _Undo
    return rehearsal


def decision_in(intended: JournalEntry | None) -> dict[str, Any] | None:
    """Return what was decided and on what, without what tells one execution from another."""
    if intended is None:
        return None
    # A shadow spends nothing, so it asks for the balance only where a reserve depends on it.
    differing = {"executionId", "after", "balance", "balanceAt", "balanceSource"}
    told = {name: value for name, value in intended.data.items() if name not in differing}
    return {**told, "why": intended.message}


def _run(taken: Look) -> None:
    try:
        taken.answer = tasks.act(taken.automation_id, taken.position_id)
    except ExchangeError as error:
        taken.error = error
    except DatabaseError as error:  # its connection was cut: as good as dead
        taken.error = error
        connection.close()


def _newest() -> int:
    newest = Execution.objects.order_by("-id").values_list("pk", flat=True).first()
    return newest or 0


def _note(stage: Stage, looks: Sequence[Look]) -> None:
    stage.looks.extend(looks)
    now = datetime.now(UTC)
    keys = {passage.key for taken in looks for passage in taken.passages if passage.applied}
    for person in stage.people:
        if person.key in keys:
            person.changed_at = now
