"""Quarantine: an automation on a position at which nobody looks until a person releases it."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from automations.models.automation import Automation
from exchange.position import PositionId


class QuarantineQuerySet(models.QuerySet["Quarantine"]):
    def on(self, position_id: PositionId | None) -> Self:
        """Return those on a position; None: those of entries, which have none."""
        return self.filter(position_id=position_id or "")


class Quarantine(models.Model):
    """Looks of one automation at one position did not end, again and again."""

    automation = models.ForeignKey(Automation, on_delete=models.CASCADE, related_name="quarantines")
    position_id = models.CharField(max_length=64, blank=True, help_text="Empty: a new position.")
    since = models.DateTimeField()
    deliveries = models.PositiveIntegerField(help_text="Looks in a row that did not end.")
    why = models.CharField(max_length=500)

    objects: ClassVar[QuarantineQuerySet] = QuarantineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-since"]
        verbose_name_plural = "quarantine"
        constraints = [
            models.UniqueConstraint(
                fields=["automation", "position_id"],
                name="one_quarantine_per_automation_and_position",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.automation.name} on {self.position_id or 'a new position'}"


def free_on(position_id: PositionId | None) -> Q:
    """Tell the automations that are not quarantined on a position, within the query that finds them."""
    return Q(~Exists(Quarantine.objects.on(position_id).filter(automation_id=OuterRef("pk"))))
