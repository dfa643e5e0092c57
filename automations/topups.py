"""Top-ups of a position whose answers never came, beside those that surely happened."""

from dataclasses import dataclass
from typing import Any, Self

from django.db.models import Q

from automations.models import Execution
from exchange.money import Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUps:
    """Our other top-ups of the position since the margin was known for sure."""

    before: dict[str, Any]
    """The position before the first of them."""
    added: Sats
    """By those that surely happened."""
    open: tuple[Sats, ...]
    """Those of which nobody knows either."""

    @classmethod
    def beside(cls, execution: Execution) -> Self:
        """Return those beside a top-up whose answer never came.

        One that shows no effect lets the next one go, and may arrive all the same: what the position
        was before the later one says nothing about the earlier. So both count from the earlier one's.
        """
        adds = Execution.objects.filter(
            account_id=execution.account_id,
            position_id=execution.position_id,
            does=Execution.Does.ADD_MARGIN,
        )
        first = execution
        while earlier := (
            adds.filter(Q(settled_at=None) | Q(settled_at__gt=first.decided_at), pk__lt=first.pk)
            .exclude(state__in=[Execution.State.SHADOW, Execution.State.NOT_SENT])
            .order_by("id")
            .first()
        ):
            first = earlier
        since = adds.filter(pk__gte=first.pk).exclude(pk=execution.pk)
        return cls(
            before=first.before,
            added=since.filter(state=Execution.State.CONFIRMED).sats(),
            open=tuple(Sats(each.amount_sats or 0) for each in since.unsettled()),
        )
