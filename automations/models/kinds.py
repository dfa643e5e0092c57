"""The kinds of automation there are, and from an automation to its own kind."""

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import QuerySet

from automations.models.auto_entry import AutoEntry
from automations.models.automation import Automation
from automations.models.margin_guard import MarginGuard
from automations.models.quarantine import free_on
from automations.models.take_profit_stop_loss import TakeProfitStopLoss
from exchange.position import PositionId

OnPosition = MarginGuard | TakeProfitStopLoss
Kind = MarginGuard | TakeProfitStopLoss | AutoEntry

POSITION_KINDS: Final[tuple[type[OnPosition], ...]] = (MarginGuard, TakeProfitStopLoss)
KINDS: Final[tuple[type[Kind], ...]] = (*POSITION_KINDS, AutoEntry)


def typed(automation: Automation) -> Kind:
    """Return the automation as its own kind.

    Raises:
        Automation.DoesNotExist: it has none, or is gone.
    """
    found = find(automation.pk)
    if found is None:
        raise Automation.DoesNotExist(f"automation {automation.pk} has no kind")
    return found


def find(automation_id: int) -> Kind | None:
    """Return an automation as its own kind, with its account; None where there is none."""
    return _first(kind.objects.select_related("account").filter(pk=automation_id) for kind in KINDS)


def find_acting(automation_id: int, position_id: PositionId | None) -> Kind | None:
    """Return the same only if it may look at the position.

    It is switched on, for an account that may act, and not quarantined there.
    """
    free = free_on(position_id)
    return _first(kind.acting().filter(free, pk=automation_id) for kind in KINDS)


def _first(queries: Iterable[QuerySet[Any, Any]]) -> Kind | None:
    return next((found for query in queries if (found := query.first()) is not None), None)
