"""Where an automation does nothing more on a position: its owner changed an exit there by hand."""

from typing import ClassVar, Self

from django.db import models

from automations.models.automation import Automation


class ExitDisarmedQuerySet(models.QuerySet["ExitDisarmed"]):
    def standing(self) -> Self:
        """Return those that nobody has re-armed."""
        return self.filter(rearmed_after__isnull=True)


class ExitDisarmed(models.Model):
    """One automation on one position; kept until the position is gone.

    Once re-armed it says from which execution on exits count as set by the automation: what was set
    before was changed by its owner, who lets it act anew.
    """

    automation = models.ForeignKey(Automation, on_delete=models.CASCADE, related_name="disarmed_on")
    position_id = models.CharField(max_length=64)
    since = models.DateTimeField()
    why = models.CharField(max_length=300)
    rearmed_after = models.PositiveBigIntegerField(
        null=True, help_text="The newest execution when it was re-armed; empty: it is disarmed."
    )

    objects: ClassVar[ExitDisarmedQuerySet] = ExitDisarmedQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-since"]
        constraints = [
            models.UniqueConstraint(
                fields=["automation", "position_id"],
                name="an_automation_is_disarmed_once_per_position",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position_id}: {self.why}"
