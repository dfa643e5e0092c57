"""How long executions are kept, and which are kept longer because decisions still depend on them."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import (
    BooleanField,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Value,
    Window,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, RowNumber

from automations.models import Execution

KEPT_FOR: Final = timedelta(days=90)
KEPT_COMPLETED: Final = 100
"""Of each automation, however old they are."""
KEPT_FAILED: Final = 50
AT_ONCE: Final = 1000
"""Deleted in one transaction, so that no worker waits long for a row."""

_STATE: Final = Execution.State
_DOES: Final = Execution.Does
_COMPLETED: Final = (_STATE.CONFIRMED, _STATE.SHADOW)
_SECOND: Final = Value(timedelta(seconds=1))


def prune_executions(now: datetime) -> int:
    """Delete the executions that nobody needs any more; return how many.

    Their entries in the journal stay as they are. May be stopped at any time, and run twice at once.
    """
    pruned = 0
    # A close can go only after the reopening that follows it: a later round finds it free.
    while batch := list(prunable(now).values_list("pk", flat=True)[:AT_ONCE]):
        Execution.objects.filter(pk__in=batch).delete()
        pruned += len(batch)
    return pruned


def prunable(now: datetime) -> QuerySet[Execution]:
    """Return what is old, not among the last of its automation, and of no weight any more."""
    return (
        Execution.objects.filter(pk__in=_beyond_the_last(), settled_at__lt=now - KEPT_FOR)
        .filter(followed_by__isnull=True)
        .exclude(_counts_for_a_budget())
        .exclude(_exit_set_last())
        .alias(rests_until=_rests_until())
        .filter(rests_until__lte=now)
    )


def _beyond_the_last() -> QuerySet[Any, Any]:
    """Return what is settled, without the last completed and failed ones of each automation."""
    completed = Q(state__in=_COMPLETED)
    sort = ExpressionWrapper(completed, output_field=BooleanField())
    place = Window(RowNumber(), partition_by=[F("automation_id"), sort], order_by=F("id").desc())
    return (
        Execution.objects.filter(settled_at__isnull=False)
        .alias(place=place)
        .filter((completed & Q(place__gt=KEPT_COMPLETED)) | (~completed & Q(place__gt=KEPT_FAILED)))
        .values("pk")
    )


def _counts_for_a_budget() -> Q:
    """Tell what bounds the future without end: a position's top-ups, how often an entry opened.

    Whether the position still runs is the exchange's to say, so its top-ups are kept.
    """
    return Q(state__in=Execution.SPENDING) & (
        Q(does=_DOES.ADD_MARGIN) | Q(does=_DOES.OPEN_POSITION, follows__isnull=True)
    )


def _exit_set_last() -> Q:
    """Tell the exit that an automation set last: forgotten, it would be taken for the user's own."""
    exits = [_DOES.SET_STOPLOSS, _DOES.SET_TRAILING, _DOES.SET_TAKEPROFIT]
    same = ("automation", "position_id", "does", "state")
    later = Execution.objects.filter(
        pk__gt=OuterRef("pk"), **{field: OuterRef(field) for field in same}
    )
    return Q(~Exists(later), does__in=exits, state__in=_COMPLETED)


def _rests_until() -> Combinable:
    """Compute until when the automation rests because of the execution; a rest may last for years."""
    rest_s = Greatest(F("automation__cooldown_s"), Coalesce(F("step__cooldown_s"), 0))
    rest = ExpressionWrapper(rest_s * _SECOND, output_field=DurationField())
    return ExpressionWrapper(F("settled_at") + rest, output_field=DateTimeField())
