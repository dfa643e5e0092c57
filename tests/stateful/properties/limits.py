"""What owners allow: budgets, the reserve, and the switch."""

from datetime import timedelta

from django.utils import timezone

from accounts.models import Account
from accounts.switch import Switch, strictest
from automations.models import Execution, MarginGuard
from tests.stateful.committed import CROSS, ISOLATED
from tests.stateful.stage import Stage
from tests.stateful.witness import Passage

_DAY = timedelta(hours=24)
_TOP_UPS = frozenset({f"{ISOLATED}/add-margin", f"{CROSS}/deposit"})


def budgets_hold(stage: Stage) -> None:
    """Confirmed plus unsettled top-ups never exceed their caps; the reserve stays."""
    taken = {passage.intent.id: _taken(passage) for passage in stage.witness.passages}
    rows = [row for row in Execution.objects.all() if row.pk in taken]
    recent = [row for row in rows if row.decided_at > timezone.now() - _DAY]
    for guard in MarginGuard.objects.all():
        of_day = sum(taken[row.pk] for row in recent if _tops_up(row, guard))
        most = guard.budget_per_day_sats
        assert most is None or of_day <= most, f"{guard} spent {of_day} in a day"
        for position in {row.position_id for row in rows}:
            on_it = [row for row in rows if _tops_up(row, guard) and row.position_id == position]
            spent = sum(taken[row.pk] for row in on_it)
            most = guard.budget_per_position_sats
            assert most is None or spent <= most, f"{guard} spent {spent} on {position}"
    for account in Account.objects.filter(budget_per_day_sats__isnull=False):
        spending = [row for row in recent if row.account_id == account.pk and row.does == "add_margin"]
        of_day = sum(taken[row.pk] for row in spending)
        assert of_day <= (account.budget_per_day_sats or 0), f"{account} spent {of_day} in a day"
    for passage in stage.passages:
        _check_the_reserve(stage, passage)


def switches_are_obeyed(stage: Stage) -> None:
    """`halted` lets no write through; `reduce_only` lets through only what cuts risk."""
    for passage in stage.passages:
        found = strictest(*passage.intent.switches)
        assert passage.intent.may_act, f"{passage.path} for who may not act"
        assert found is not Switch.HALTED, f"{passage.path} though halted"
        if found is Switch.REDUCE_ONLY:
            assert _cuts_risk(stage, passage), f"{passage.path} though nothing may add risk"
        if passage.intent.does == "reduce_position" and passage.path == f"{CROSS}/order":
            _check_it_shrank(passage)
        if passage.intent.follows_id is not None:
            assert _closed_before(stage, passage).applied, "a rest was opened, and nothing was closed"


def _taken(passage: Passage) -> int:
    """Return the sats that left the balance; those of a write that may yet arrive count as well."""
    if passage.path in _TOP_UPS and not passage.applied:
        still_open = Execution.objects.unsettled().filter(pk=passage.intent.id).exists()
        return int(passage.params["amount"]) if still_open else 0
    return max(0, passage.before.balance - passage.after.balance)


def _tops_up(row: Execution, guard: MarginGuard) -> bool:
    return row.automation_id == guard.pk and row.does == "add_margin"


def _check_the_reserve(stage: Stage, passage: Passage) -> None:
    """See what is left; what an owner takes out between a decision and its write is their own."""
    left, took = passage.after.balance, passage.before.balance - passage.after.balance
    if took <= 0 or passage.ambushed:
        return
    if passage.intent.follows_id is not None:
        had = _closed_before(stage, passage).before.balance
        assert left >= had, f"a reduction took {had - left} fresh sats"
        return
    reserve = Account.objects.get(pk=passage.intent.account_id).reserve_sats
    assert left >= reserve, f"{left} sats are left of a reserve of {reserve}"


def _closed_before(stage: Stage, reopening: Passage) -> Passage:
    (closing,) = (
        passage
        for passage in stage.witness.passages
        if passage.intent.id == reopening.intent.follows_id
    )
    return closing


def _cuts_risk(stage: Stage, passage: Passage) -> bool:
    if passage.intent.does != "open_position":
        return True
    if passage.intent.follows_id is None:
        return False
    closed = _closed_before(stage, passage)
    had: int = closed.before.trades[closed.params["id"]]["quantity"]
    return int(passage.params["quantity"]) < had


def _check_it_shrank(passage: Passage) -> None:
    before, after = passage.before.cross["quantity"], passage.after.cross["quantity"]
    assert 0 <= after / before <= 1, f"a reduction led from {before} to {after} contracts"
