"""The switch: what may be done at all, for everything, an account, or one automation."""

from typing import Any

from django.db import models


class Switch(models.TextChoices):
    """Ordered by what it lets through."""

    ACTIVE = "active", "Active: everything"
    REDUCE_ONLY = "reduce_only", "Reduce only: nothing that adds risk"
    HALTED = "halted", "Halted: nothing at all"

    def lets_through(self, *, cuts_risk: bool) -> bool:
        """Whether an action may pass; `cuts_risk` says of it that no risk is added."""
        return self is Switch.ACTIVE or (self is Switch.REDUCE_ONLY and cuts_risk)


def strictest(*switches: str) -> Switch:
    """Return the one that lets the least through."""
    order = list(Switch)
    return max((Switch(each) for each in switches), key=order.index)


def switch_field() -> Any:
    return models.CharField(max_length=16, choices=Switch.choices, default=Switch.ACTIVE)
