"""The kinds of automation there are, and from an automation to its own kind."""

from typing import Final

from automations.models.auto_entry import AutoEntry
from automations.models.automation import Automation
from automations.models.margin_guard import MarginGuard
from automations.models.take_profit_stop_loss import TakeProfitStopLoss

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


def find(automation_id: int, *, acting: bool = False) -> Kind | None:
    """Return an automation as its own kind, with its account; None where there is none.

    Args:
        automation_id: of any kind.
        acting: only if it is switched on, for an account that may act.
    """
    for kind in KINDS:
        rows = kind.acting() if acting else kind.objects.select_related("account")
        found = rows.filter(pk=automation_id).first()
        if found is not None:
            return found
    return None
