"""The kinds of automation there are, and from an automation to its own kind."""

from typing import Final

from automations.models.auto_entry import AutoEntry
from automations.models.automation import Automation
from automations.models.compiled import Compiled
from automations.models.margin_guard import GuardStep, MarginGuard, PositionThreshold
from automations.models.quarantine import free_on
from automations.models.take_profit_stop_loss import TakeProfitStopLoss
from exchange.position import PositionId

OnPosition = MarginGuard | TakeProfitStopLoss
Kind = MarginGuard | TakeProfitStopLoss | AutoEntry

POSITION_KINDS: Final[tuple[type[OnPosition], ...]] = (MarginGuard, TakeProfitStopLoss)
KINDS: Final[tuple[type[Kind], ...]] = (*POSITION_KINDS, AutoEntry)


def _find(kind: type[Kind]) -> Compiled[Kind]:
    return Compiled(lambda pk: kind.objects.select_related("account").filter(pk=pk), int)


def _find_acting(kind: type[Kind]) -> Compiled[Kind]:
    return Compiled(lambda position, pk: kind.acting().filter(free_on(position), pk=pk), str, int)


_FIND: Final = [_find(kind) for kind in KINDS]
_FIND_ACTING: Final = [_find_acting(kind) for kind in KINDS]
_STEPS: Final = Compiled[GuardStep](lambda guard: GuardStep.objects.filter(guard=guard), int)
_THRESHOLDS: Final = Compiled[PositionThreshold](
    lambda guard: PositionThreshold.objects.filter(step__guard=guard), int
)


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
    return next((found for find_it in _FIND if (found := find_it.first(automation_id))), None)


def find_acting(automation_id: int, position_id: PositionId | None) -> Kind | None:
    """Return the same only if it may look at the position.

    It is switched on, for an account that may act, and not quarantined there.
    """
    for find_it in _FIND_ACTING:
        found = find_it.first(position_id or "", automation_id)
        if isinstance(found, MarginGuard):
            found.take_steps(_STEPS(found.pk), _THRESHOLDS(found.pk))
        if found is not None:
            return found
    return None
