"""What is told: each transition once, and no secret ever."""

import traceback
from collections.abc import Iterator

from django.db import connection

from accounts.gateway import redis_client
from automations import chronicle
from automations.models import Automation, Execution, JournalEntry
from tests.stateful.stage import Look, Stage

_REFUSALS = frozenset(
    {
        "disabled", "halted", "reduce_only", "account_inactive", "not_accepted", "stale", "cooldown",
        "budget_used_up", "reserve", "command_rate", "too_little_left", "balance", "balance_unknown",
        "unsettled", "leverage_1", "too_small", "cannot_reduce", "reductions", "guards_need",
        "guards_need_unknown",
    }
)  # fmt: skip
_STATE = Execution.State
_LEFT_FLAT = [["intended", "executed", "reconciled"], ["intended", "executed", "held"]]
"""Of a close whose rest was not opened again."""
_TOLD: dict[Execution.State, list[list[str]]] = {
    # The intent is told with what came of it, by whoever settles it.
    _STATE.INTENDED: [[]],
    _STATE.SENT: [[]],
    _STATE.UNKNOWN: [["intended", "unknown"]],
    _STATE.CONFIRMED: [
        ["intended", "executed"], ["intended", "reconciled"], ["intended", "unknown", "reconciled"],
        ["intended", "executed", "limited"], *_LEFT_FLAT,
    ],
    _STATE.REJECTED: [["intended", "rejected"]],
    _STATE.NOT_SENT: [["intended", "not_sent"]],
    _STATE.NOT_APPLIED: [["intended", "reconciled"], ["intended", "unknown", "reconciled"]],
    _STATE.QUARANTINED: [["intended", "reconciled"], ["intended", "unknown", "reconciled"]],
    _STATE.SHADOW: [["intended", "shadow"]],
}  # fmt: skip
"""The outcomes that the journal may have told of an execution in each state."""


def every_transition_is_told(stage: Stage) -> None:
    """Every transition and every "would have acted but" has one journal entry; its chain verifies."""
    told: dict[int | None, list[str]] = {}
    for entry in JournalEntry.objects.order_by("id"):
        told.setdefault(entry.execution_id, []).append(entry.event.removeprefix(f"{entry.type}_"))
    for execution in Execution.objects.all():
        outcomes = _in_turn(told.get(execution.pk, []))
        assert outcomes in _TOLD[_STATE(str(execution.state))], f"of {execution} was told {outcomes}"
    for look in stage.looks:
        if look.word in _REFUSALS and look.alone:
            _check_the_refusal(look)
    entries = JournalEntry.objects.count()
    if entries != stage.verified:
        for person in stage.people:
            fault = chronicle.verify(person.account)
            assert fault is None, fault
        stage.verified = entries


def _in_turn(outcomes: list[str]) -> list[str]:
    """Return them without what may come once at any time afterwards."""
    for later in ("read_back", "unsettled"):
        if later in outcomes:
            outcomes.remove(later)
    return outcomes


def no_secret_is_told(stage: Stage) -> None:
    """No secret in a log, task argument, Flower, exception, export or page."""
    said = {
        "a log line": stage.lines,
        "a task's message": stage.messages,
        "an exception": [_traceback(look.error) for look in stage.looks if look.error],
        "Redis": _in_redis(),
        "a table": _in_tables(),
    }
    for person in stage.people:
        credentials = stage.venue.accounts[person.number].credentials
        for secret in (credentials.key, credentials.secret, credentials.passphrase):
            for where, texts in said.items():
                assert not any(secret in text for text in texts), f"a secret in {where}"
    stage.lines.clear()


def _check_the_refusal(look: Look) -> None:
    automation = Automation.objects.get(pk=look.automation_id)
    held = JournalEntry.objects.filter(automation=automation, event__endswith="_held")
    held = held.filter(position_id=look.position_id or "")
    # Not the newest one: of a ladder several steps may be refused, and what was told is not repeated.
    assert held.filter(data__reason=look.word).exists(), f"nothing tells of {look.word}"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _in_redis() -> Iterator[str]:
    redis = redis_client()
    for key in redis.scan_iter():
        yield str(key)
        yield str(redis.dump(key))


def _in_tables() -> Iterator[str]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith(("accounts_", "automations_")):
                cursor.execute(f"SELECT coalesce(json_agg(t)::text, '') FROM {table} t")  # noqa: S608
                yield cursor.fetchone()[0]
